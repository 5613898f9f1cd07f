package drivertest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/volsnap/volsnap/driver"
)

var takeCases = []testCase{
	{"a group is one snapshot of each item in order", func(s *suite) {
		a, b, c := s.dataset("a", "1"), s.dataset("b with space", "2"), s.dataset("c\u00fc'\"\\x", "3")
		begun := time.Now()
		set := s.set()
		got := s.take(set, c, a, b)
		if len(got) != 3 {
			s.Fatalf("%d snapshots, want 3", len(got))
		}
		seen := map[string]bool{}
		for i, ds := range []driver.Dataset{c, a, b} {
			one := got[i]
			s.equal("volumes", one.Volumes, request(set, ds).Items[0].Volumes)
			if one.Dataset != ds || one.Set != set || one.Member != i+1 || one.Of != 3 || one.Sealed || one.Fault != "" {
				s.Errorf("snapshot %d: %+v", i, one)
			}
			if one.GUID == "" || seen[one.GUID] || one.Taken.Before(begun) || one.Taken.After(time.Now()) {
				s.Errorf("snapshot %d: GUID %q, taken %s", i, one.GUID, one.Taken)
			}
			seen[one.GUID] = true
		}
	}},
	{"unsealed, sealed, unsealed again", func(s *suite) {
		ds := s.dataset("life of a set", "1")
		made := s.take(s.set(), ds)
		if got := s.only(ds); got.Sealed || got.GUID != made[0].GUID || got.Order != made[0].Order || got.Name != made[0].Name {
			s.Fatalf("after Take %+v, want %+v", got, made[0])
		}
		s.must(s.d.Seal(s.ctx, "frozen", made...))
		want := made[0]
		want.Sealed, want.Consistency = true, "frozen"
		got := s.only(ds)
		if !got.Taken.Equal(want.Taken) {
			s.Errorf("taken %s, want %s", got.Taken, want.Taken)
		}
		got.Taken, want.Taken = time.Time{}, time.Time{}
		s.equal("after Seal", got, want)
		s.must(s.d.Unseal(s.ctx, got))
		if got := s.only(ds); got.Sealed || got.GUID != want.GUID || got.Fault != "" {
			s.Errorf("after Unseal %+v", got)
		}
		s.must(s.d.Destroy(s.ctx, s.only(ds)))
		s.equal("after Destroy", names(s.list(ds)), []string(nil))
	}},
	{"killed after prepare leaves nothing that is listed, and the next run works", func(s *suite) {
		ds := s.dataset("killed after prepare", "1")
		set := s.set()
		_ = s.prepare(set, ds) // and no Close: the process is gone
		s.d = s.st.Driver()
		s.equal("after the kill", names(s.list(ds)), []string(nil))
		made := s.take(s.set(), ds)
		s.equal("after the next run", names(s.list(ds)), names(made))
	}},
	{"killed after take leaves unsealed ones that can be destroyed", func(s *suite) {
		ds := s.dataset("killed after take", "1")
		s.must(s.prepare(s.set(), ds).Take(s.ctx))
		s.d = s.st.Driver()
		left := s.only(ds)
		if left.Sealed || left.Fault != "" || left.Of != 1 {
			s.Errorf("left over: %+v", left)
		}
		s.must(s.d.Destroy(s.ctx, left))
		s.equal("afterwards", names(s.list(ds)), []string(nil))
	}},
	{"close without take removes the records, twice", func(s *suite) {
		ds := s.dataset("closed", "1")
		set := s.set()
		g := s.prepare(set, ds)
		s.must(g.Close(s.ctx))
		s.must(g.Close(s.ctx))
		s.take(set, ds) // the name is free
	}},
	{"a name that is taken is ErrExists", func(s *suite) {
		a, b := s.dataset("twice a", "1"), s.dataset("twice b", "1")
		set := s.set()
		made := s.take(set, a)
		if _, err := s.d.Prepare(s.ctx, request(set, b, a)); !errors.Is(err, driver.ErrExists) {
			s.Errorf("Prepare: %v, want ErrExists", err)
		}
		s.equal("the first stays", s.only(a).GUID, made[0].GUID)
		s.equal("the other was not begun", names(s.list(b)), []string(nil))
		s.take(set, b)
	}},
	{"bad requests are refused", func(s *suite) {
		a, b := s.dataset("bad a", "1"), s.dataset("bad b", "1")
		gone := driver.Dataset{Kind: a.Kind, Name: a.Name + "-gone"}
		good := func() driver.Request { return request(s.set(), a, b) }
		for name, spoil := range map[string]func(*driver.Request){
			"no set":           func(r *driver.Request) { r.Set = "" },
			"hostile set":      func(r *driver.Request) { r.Set = "../x-20261121T020000.123Z" },
			"a dataset twice":  func(r *driver.Request) { r.Items[1].Dataset = a },
			"a member twice":   func(r *driver.Request) { r.Items[1].Member = 1 },
			"member 0":         func(r *driver.Request) { r.Items[0].Member = 0 },
			"member 3 of 2":    func(r *driver.Request) { r.Items[1].Member = 3 },
			"another kind":     func(r *driver.Request) { r.Items[1].Dataset.Kind = "floppy" },
			"no such dataset":  func(r *driver.Request) { r.Items[1].Dataset = gone },
			"cancelled before": nil,
		} {
			req, ctx := good(), s.ctx
			if spoil == nil {
				ended, cancel := context.WithCancel(s.ctx)
				cancel()
				ctx = ended
			} else {
				spoil(&req)
			}
			if _, err := s.d.Prepare(ctx, req); err == nil {
				s.Errorf("%s: Prepare did not refuse", name)
			}
		}
		s.equal("nothing was made", names(s.list(a, b)), []string(nil))
	}},
	{"a cancelled take makes nothing", func(s *suite) {
		ds := s.dataset("cancelled", "1")
		g := s.prepare(s.set(), ds)
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		if _, err := driver.Take(ctx, g); !errors.Is(err, context.Canceled) {
			s.Errorf("Take: %v, want Canceled", err)
		}
		s.must(g.Close(s.ctx))
		s.equal("afterwards", names(s.list(ds)), []string(nil))
	}},
	{"order grows and guids differ", func(s *suite) {
		ds := s.dataset("order", "1")
		seen := map[string]bool{}
		var made []string
		for range 4 {
			one := s.take(s.set(), ds)[0]
			if seen[one.GUID] {
				s.Errorf("GUID %s twice", one.GUID)
			}
			seen[one.GUID] = true
			made = append(made, one.Name)
		}
		got := s.list(ds)
		s.equal("oldest first", names(got), made)
		for i := 1; i < len(got); i++ {
			if got[i].Order <= got[i-1].Order {
				s.Errorf("order %d after %d", got[i].Order, got[i-1].Order)
			}
		}
	}},
	{"many at once", func(s *suite) {
		var all []driver.Dataset
		for i := range 20 {
			all = append(all, s.dataset("many "+strconv.Itoa(i), strconv.Itoa(i)))
		}
		made := s.take(s.set(), all...)
		s.must(s.d.Seal(s.ctx, "frozen", made...))
		got := s.list(all...)
		if len(got) != len(all) {
			s.Fatalf("%d snapshots, want %d", len(got), len(all))
		}
		for _, one := range got {
			if !one.Sealed || one.Consistency != "frozen" || one.Of != len(all) {
				s.Errorf("%+v", one)
			}
		}
		s.must(s.d.Unseal(s.ctx, got...))
		s.must(s.d.Destroy(s.ctx, got...))
		s.equal("afterwards", names(s.list(all...)), []string(nil))
	}},
	{"resolve", func(s *suite) {
		ds := s.dataset("re solve", "1")
		for file, want := range map[string]string{".": ".", "f": "f"} {
			got, err := s.d.Resolve(s.ctx, s.st.Path(ds, file))
			s.must(err)
			if got.Dataset != ds || got.Path != want || got.Pool == "" {
				s.Errorf("Resolve(%s) = %+v", file, got)
			}
		}
		if _, err := s.d.Resolve(s.ctx, "/proc/self"); !errors.Is(err, driver.ErrNotSupported) {
			s.Errorf("Resolve(/proc/self): %v, want ErrNotSupported", err)
		}
		space, err := s.d.Space(s.ctx, ds)
		s.must(err)
		if space.FreeBytes == 0 || space.FreeBytes > space.TotalBytes {
			s.Errorf("space: %+v", space)
		}
	}},
}
