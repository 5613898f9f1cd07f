package drivertest

import (
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
)

var pruneCases = []testCase{
	{"destroying what is gone is no error", func(s *suite) {
		ds := s.dataset("gone", "1")
		one := s.sealed(ds)
		s.must(s.d.Destroy(s.ctx, one))
		s.must(s.d.Destroy(s.ctx, one))
		s.must(s.d.Unseal(s.ctx, one))
		s.must(s.d.Destroy(s.ctx))
		if err := s.d.Pin(s.ctx, one, "late"); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("Pin: %v, want ErrNotFound", err)
		}
		if err := s.d.Seal(s.ctx, "frozen", one); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("Seal: %v, want ErrNotFound", err)
		}
	}},
	{"pins are kept, sorted, and idempotent", func(s *suite) {
		ds := s.dataset("pins", "1")
		one := s.sealed(ds)
		for _, reason := range []string{"zoo", "before upgrade", "\u00fcber {\"a\"} \\ '", "zoo", strings.Repeat("x", 200)} {
			s.must(s.d.Pin(s.ctx, one, reason))
		}
		s.d = s.st.Driver()
		want := []string{"before upgrade", strings.Repeat("x", 200), "zoo", "\u00fcber {\"a\"} \\ '"}
		s.equal("pins", s.only(ds).Pins, want)
		s.must(s.d.Unpin(s.ctx, one, "zoo"))
		s.must(s.d.Unpin(s.ctx, one, "zoo"))
		s.must(s.d.Unpin(s.ctx, one, "never there"))
		s.equal("pins", s.only(ds).Pins, []string{want[0], want[1], want[3]})
		for _, bad := range []string{"", "a\nb", "\x00", "\xff", "\u0085", strings.Repeat("x", 201)} {
			if err := s.d.Pin(s.ctx, one, bad); !errors.Is(err, driver.ErrBadPin) {
				s.Errorf("Pin(%q): %v, want ErrBadPin", bad, err)
			}
		}
		for _, reason := range s.only(ds).Pins {
			s.must(s.d.Unpin(s.ctx, one, reason))
		}
		s.equal("pins", len(s.only(ds).Pins), 0)
	}},
	{"a pin from before the seal goes when it is unpinned", func(s *suite) {
		ds := s.dataset("pinned early", "1")
		made := s.take(s.set(), ds)
		s.must(s.d.Pin(s.ctx, made[0], "early"))
		s.must(s.d.Seal(s.ctx, "atomic", made...))
		s.equal("pins after Seal", s.only(ds).Pins, []string{"early"})
		if err := s.d.Unseal(s.ctx, made...); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Unseal: %v, want ErrBusy", err)
		}
		s.must(s.d.Unpin(s.ctx, made[0], "early"))
		s.must(s.d.Unseal(s.ctx, made...))
		s.equal("pins after Unseal", len(s.only(ds).Pins), 0)
		s.must(s.d.Destroy(s.ctx, made...))
	}},
	{"a set that is not whole is not sealed", func(s *suite) {
		a, b := s.dataset("whole", "1"), s.dataset("not there", "1")
		made := s.take(s.set(), a, b)
		s.must(s.d.Destroy(s.ctx, made[1]))
		if err := s.d.Seal(s.ctx, "atomic", made...); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("Seal: %v, want ErrNotFound", err)
		}
		if s.only(a).Sealed {
			s.Error("the one that is there was sealed")
		}
	}},
	{"a pin keeps a snapshot, and its set sealed", func(s *suite) {
		a, b := s.dataset("pinned", "1"), s.dataset("beside it", "1")
		made := s.take(s.set(), a, b)
		s.must(s.d.Seal(s.ctx, "frozen", made...))
		other := s.sealed(a)
		s.must(s.d.Pin(s.ctx, made[1], "keep"))
		if err := s.d.Unseal(s.ctx, made[0], made[1], other); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Unseal: %v, want ErrBusy", err)
		}
		for _, one := range s.list(a, b) {
			if one.Sealed != (one.Set == made[0].Set) {
				s.Errorf("after Unseal: %+v", one)
			}
		}
		if err := s.d.Destroy(s.ctx, made[1], other); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Destroy: %v, want ErrBusy", err)
		}
		s.equal("the pinned one stays", names(s.list(b)), names(made[1:]))
		s.equal("the other went", names(s.list(a)), names(made[:1]))
		s.must(s.d.Unpin(s.ctx, made[1], "keep"))
		s.must(s.d.Destroy(s.ctx, made...))
	}},
	{"a mounted one is busy", func(s *suite) {
		ds := s.dataset("mounted", "1")
		one, other := s.sealed(ds), s.sealed(ds)
		unmount, err := s.d.Mount(s.ctx, one, s.TempDir())
		s.must(err)
		err = s.st.Driver().Destroy(s.ctx, one, other)
		if !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Destroy: %v, want ErrBusy", err)
		}
		s.equal("it stays, the other went", names(s.list(ds)), []string{one.Name})
		if err := s.st.Driver().Unseal(s.ctx, one); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Unseal: %v, want ErrBusy", err)
		}
		s.equal("it is as sealed as before", s.list(ds)[0].Sealed, true)
		s.must(unmount(s.ctx))
		s.must(s.d.Destroy(s.ctx, one))
	}},
	{"a snapshot outlives its dataset's next one and a later kill", func(s *suite) {
		ds := s.dataset("half destroyed", "1")
		first, second := s.sealed(ds), s.sealed(ds)
		s.must(s.d.Unseal(s.ctx, first)) // and then the process is gone
		s.d = s.st.Driver()
		got := s.list(ds)
		if len(got) != 2 || got[0].Sealed || !got[1].Sealed || got[1].GUID != second.GUID {
			s.Errorf("after the kill: %+v", got)
		}
	}},
	{"concurrent use", func(s *suite) {
		ds, other := s.dataset("concurrent", "1"), s.dataset("concurrent too", "1")
		one, doomed := s.sealed(ds), s.sealed(other)
		again := s.st.Driver()
		var g errgroup.Group
		for _, reason := range []string{"a", "b", "c", "d", "e", "f"} {
			for _, d := range []driver.Driver{s.d, again} {
				g.Go(func() error { return d.Pin(s.ctx, one, reason) })
			}
			g.Go(func() error {
				_, err := again.Snapshots(s.ctx, ds)
				return err
			})
		}
		g.Go(func() error { return s.d.Destroy(s.ctx, doomed) })
		g.Go(func() error { return again.Destroy(s.ctx, doomed) })
		s.must(g.Wait())
		s.equal("no pin was lost", s.only(ds).Pins, []string{"a", "b", "c", "d", "e", "f"})
		s.equal("destroyed once", names(s.list(other)), []string(nil))
	}},
}
