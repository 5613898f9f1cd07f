package drivertest

import (
	"errors"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

var oursCases = []testCase{
	{"foreign snapshots are neither listed nor destroyed", func(s *suite) {
		ds := s.dataset("foreign", "1")
		ours := s.sealed(ds)
		for _, name := range []string{
			s.set().SnapshotName(), "volsnap-", "autosnap_2026-11-21", "volsnap-ccn-x", "volsnap-ccn-20261121T020000.123Z.old",
		} {
			alien, there := s.st.Foreign(s.T, ds, name)
			if slices.Contains(names(s.list(ds)), alien.Name) {
				s.Errorf("%s is listed", alien.Name)
			}
			for what, do := range map[string]func() error{
				"Destroy": func() error { return s.d.Destroy(s.ctx, alien) },
				"Unseal":  func() error { return s.d.Unseal(s.ctx, alien) },
				"Pin":     func() error { return s.d.Pin(s.ctx, alien, "mine") },
				"Seal":    func() error { return s.d.Seal(s.ctx, "frozen", alien) },
			} {
				if err := do(); !errors.Is(err, driver.ErrForeign) {
					s.Errorf("%s(%s): %v, want ErrForeign", what, alien.Name, err)
				}
			}
			if !there() {
				s.Errorf("%s was destroyed", alien.Name)
			}
		}
		s.equal("ours alone", names(s.list(ds)), []string{ours.Name})
	}},
	{"a foreign one in the place of ours is ErrExists, and stays", func(s *suite) {
		ds := s.dataset("in the way", "1")
		set := s.set()
		_, there := s.st.Foreign(s.T, ds, set.SnapshotName())
		if _, err := s.d.Prepare(s.ctx, request(set, ds)); !errors.Is(err, driver.ErrExists) {
			s.Errorf("Prepare: %v, want ErrExists", err)
		}
		if !there() || len(s.list(ds)) != 0 {
			s.Errorf("there %t, listed %v", there(), names(s.list(ds)))
		}
	}},
	{"one that comes between prepare and take is not ours", func(s *suite) {
		ds := s.dataset("between", "1")
		set := s.set()
		g := s.prepare(set, ds)
		alien, there := s.st.Foreign(s.T, ds, set.SnapshotName())
		if _, err := driver.Take(s.ctx, g); !errors.Is(err, driver.ErrExists) {
			s.Errorf("Take: %v, want ErrExists", err)
		}
		s.must(g.Close(s.ctx))
		if err := s.d.Destroy(s.ctx, alien); !errors.Is(err, driver.ErrForeign) {
			s.Errorf("Destroy: %v, want ErrForeign", err)
		}
		if !there() {
			s.Error("it was destroyed")
		}
	}},
	{"a guid is compared before anything is done", func(s *suite) {
		ds := s.dataset("guid", "1")
		one := s.sealed(ds)
		wrong := one
		wrong.GUID = "00000000-0000-0000-0000-000000000001"
		empty := one
		empty.GUID = ""
		for _, bad := range []driver.Snapshot{wrong, empty} {
			if err := s.d.Destroy(s.ctx, bad); !errors.Is(err, driver.ErrForeign) {
				s.Errorf("Destroy(%q): %v, want ErrForeign", bad.GUID, err)
			}
			if err := s.d.Clone(s.ctx, bad, s.st.CloneName(s.T, "never")); !errors.Is(err, driver.ErrForeign) {
				s.Errorf("Clone(%q): %v, want ErrForeign", bad.GUID, err)
			}
			if _, err := s.d.Mount(s.ctx, bad, s.TempDir()); !errors.Is(err, driver.ErrForeign) {
				s.Errorf("Mount(%q): %v, want ErrForeign", bad.GUID, err)
			}
		}
		s.equal("it stays", s.only(ds).GUID, one.GUID)
	}},
	{"what was changed since it was sealed is at fault, and stays", func(s *suite) {
		ds := s.dataset("tampered", "1")
		good, bad := s.sealed(ds), s.sealed(ds)
		s.st.Tamper(s.T, bad)
		got := s.list(ds)
		if len(got) != 2 || got[0].Fault != "" || got[1].Fault == "" || !got[1].Sealed {
			s.Fatalf("listed %+v", got)
		}
		for _, asked := range []driver.Snapshot{bad, got[1]} {
			if err := s.d.Destroy(s.ctx, asked, good); !errors.Is(err, driver.ErrForeign) {
				s.Errorf("Destroy: %v, want ErrForeign", err)
			}
			if err := s.d.Seal(s.ctx, "frozen", asked); err == nil {
				s.Error("Seal did not see it")
			}
		}
		s.equal("it stays, the other went", names(s.list(ds)), []string{bad.Name})
	}},
	{"names that lead elsewhere are refused", func(s *suite) {
		ds := s.dataset("hostile", "1")
		one := s.sealed(ds)
		for _, name := range []string{"", "/", ".", ds.Name, "../../" + one.Name, "-rf", one.Name + "/..", one.Name + "\n", "relative"} {
			bad := one
			bad.Name = name
			if err := s.d.Destroy(s.ctx, bad); err == nil && name != "" {
				s.Logf("Destroy(%q) said that it is gone", name)
			}
		}
		other := one
		other.Set = s.set()
		if err := s.d.Destroy(s.ctx, other); err == nil {
			s.Error("Destroy with another set id was accepted")
		}
		s.equal("all is there", s.only(ds).GUID, one.GUID)
		s.equal("the dataset too", s.st.Read(s.T, ds, "f"), "1")
	}},
}
