package drivertest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
)

// planted is a dataset with files of every kind, or with two, where there is no more to be had.
func (s *replicas) planted(name string) driver.Dataset {
	s.Helper()
	ds := s.dataset(name, "old")
	s.st.Write(s.T, ds, "g", strings.Repeat("content of "+name+"\n", 3000))
	if s.rich(ds) {
		s.must(plant(s.st.Path(ds, "."), 1))
	}
	return ds
}

// tended is the next snapshot of a dataset, after a change.
func (s *replicas) tended(ds driver.Dataset, seed uint64) driver.Snapshot {
	s.Helper()
	s.st.Write(s.T, ds, "f", strings.Repeat("x", int(seed)))
	if s.rich(ds) {
		s.must(tend(s.st.Path(ds, "."), seed))
	}
	return s.sealed(ds)
}

var streamCases = []replicaCase{
	{"a full stream makes an equal replica", func(s *replicas) {
		ds := s.planted("full")
		one := s.sealed(ds)
		begun := time.Now()
		got := s.replicate(one, nil)
		s.same(got, one, s.rich(ds))
		if got.Sealed || len(got.Pins) > 0 || got.Consistency != "" || got.Dataset == one.Dataset || got.Name == one.Name {
			s.Errorf("the replica is %+v", got)
		}
		if got.Received.Before(begun.Add(-time.Second)) || got.Received.After(time.Now().Add(time.Second)) {
			s.Errorf("received %s, which is not now", got.Received)
		}
		s.r = s.open()
		s.equal("listed", s.here(), []driver.Snapshot{got})
		s.equal("listed by dataset", s.here(got.Dataset), []driver.Snapshot{got})
		s.equal("listed of another dataset", len(s.here(one.Dataset)), 0)
	}},
	{"the oldest format makes an equal replica", func(s *replicas) {
		ds := s.planted("oldest")
		one := s.sealed(ds)
		var out bytes.Buffer
		s.must(s.sender().Send(s.ctx, driver.SendRequest{Snapshot: one}, &out))
		got, err := s.r.Receive(s.ctx, announce(one, nil), &out)
		s.must(err)
		s.same(got, one, s.rich(ds))
	}},
	{"an increment builds on its base", func(s *replicas) {
		ds := s.planted("steps")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		first := s.replicate(one, nil)
		second := s.replicate(two, &one)
		s.same(second, two, s.rich(ds))
		s.same(first, one, s.rich(ds))
		if second.Order <= first.Order || second.Dataset != first.Dataset {
			s.Errorf("%+v came after %+v", second, first)
		}
		s.equal("listed", s.here(), []driver.Snapshot{first, second})
		if full, step := len(s.stream(two, nil)), len(s.stream(two, &one)); s.rich(ds) && step > full/2 {
			s.Errorf("the increment has %d bytes, all of it has %d", step, full)
		}
	}},
	{"what changes below the top leaves the times of the top", func(s *replicas) {
		ds := s.planted("deep")
		one := s.sealed(ds)
		if s.rich(ds) {
			s.must(os.WriteFile(filepath.Join(s.st.Path(ds, "."), "a dir", "a new file"), []byte("new"), 0o600))
		}
		two := s.sealed(ds)
		s.replicate(one, nil)
		s.same(s.replicate(two, &one), two, s.rich(ds))
	}},
	{"an increment may leave snapshots out", func(s *replicas) {
		ds := s.planted("missed")
		one := s.sealed(ds)
		s.sealed(ds)
		three := s.tended(ds, 3)
		four := s.sealed(ds) // in which nothing has changed
		s.replicate(one, nil)
		s.same(s.replicate(three, &one), three, s.rich(ds))
		s.same(s.replicate(four, &three), four, s.rich(ds))
	}},
	{"an older replica is a base, or the place has diverged from it", func(s *replicas) {
		ds := s.planted("branch")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		three := s.sealed(ds)
		s.replicate(one, nil)
		s.replicate(two, &one)
		before := s.here()
		got, err := s.r.Receive(s.ctx, announce(three, &one), bytes.NewReader(s.stream(three, &one)))
		if errors.Is(err, driver.ErrDiverged) { // a storage whose replicas are one line
			s.unchanged("ErrDiverged", before)
			return
		}
		s.must(err)
		s.same(got, three, s.rich(ds))
		s.equal("replicas", len(s.here()), 3)
	}},
	{"a set of several datasets", func(s *replicas) {
		a, b := s.planted("member a"), s.planted("member b")
		made := s.take(s.set(), a, b)
		s.must(s.d.Seal(s.ctx, "frozen", made...))
		got := []driver.Snapshot{s.replicate(made[0], nil), s.replicate(made[1], nil)}
		s.must(s.r.Seal(s.ctx, "frozen", got...))
		for i, one := range s.here(got[0].Dataset, got[1].Dataset) {
			if !one.Sealed || one.Consistency != "frozen" || one.Of != 2 {
				s.Errorf("member %d: %+v", i+1, one)
			}
		}
		s.same(got[0], made[0], s.rich(a))
		s.same(got[1], made[1], s.rich(b))
	}},
	{"datasets with names alike are kept apart", func(s *replicas) {
		a, b := s.sealed(s.dataset("twin 1", "1")), s.sealed(s.dataset("twin_1", "2"))
		one, two := s.replicate(a, nil), s.replicate(b, nil)
		if one.Dataset == two.Dataset {
			s.Errorf("both are in %s", one.Dataset)
		}
		s.same(one, a, false)
		s.same(two, b, false)
	}},
	{"a replica can be sent on", func(s *replicas) {
		from, ok := s.r.(driver.Sender)
		if !ok {
			s.Skip("the place sends nothing")
		}
		ds := s.planted("sent on")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		first, second := s.replicate(one, nil), s.replicate(two, &one)
		s.must(s.r.Seal(s.ctx, "atomic", first))
		s.must(s.r.Seal(s.ctx, "atomic", second))
		s.r = s.rs.Place(s.T)()
		for i, req := range []driver.SendRequest{{Snapshot: first}, {Snapshot: second, Base: &first}} {
			var out bytes.Buffer
			s.must(from.Send(s.ctx, req, &out))
			got, err := s.r.Receive(s.ctx, announce(req.Snapshot, req.Base), &out)
			s.must(err)
			s.same(got, []driver.Snapshot{one, two}[i], s.rich(ds))
		}
	}},
	{"nothing to send from", func(s *replicas) {
		ds := s.planted("sender")
		one, two := s.sealed(ds), s.sealed(ds)
		gone := s.sealed(ds)
		s.must(s.d.Destroy(s.ctx, gone))
		wrong := two
		wrong.GUID = one.GUID
		for _, tc := range []struct {
			name string
			req  driver.SendRequest
			want error
		}{
			{"snapshot that is gone", driver.SendRequest{Snapshot: gone}, driver.ErrNotFound},
			{"base that is gone", driver.SendRequest{Snapshot: two, Base: &gone}, driver.ErrNotFound},
			{"snapshot with another GUID", driver.SendRequest{Snapshot: wrong}, driver.ErrForeign},
			{"base with another GUID", driver.SendRequest{Snapshot: one, Base: &wrong}, driver.ErrForeign},
			{"token of nothing", driver.SendRequest{Snapshot: one, Resume: "1-2-3"}, driver.ErrStale},
		} {
			var out bytes.Buffer
			if err := s.sender().Send(s.ctx, tc.req, &out); !isOne(err, tc.want) || out.Len() > 0 {
				s.Errorf("%s: %v, %d bytes; want %v", tc.name, err, out.Len(), tc.want)
			}
		}
	}},
}
