package drivertest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

func isOne(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}

var replicaCases = []replicaCase{
	{"a replica is sealed, pinned, unsealed and destroyed", func(s *replicas) {
		one := s.sealed(s.planted("life"))
		got := s.replicate(one, nil)
		s.must(s.r.Seal(s.ctx, "frozen", got))
		s.must(s.r.Pin(s.ctx, got, "keep"))
		s.r = s.open()
		now := s.here()[0]
		if !now.Sealed || now.Consistency != "frozen" || !now.Taken.Equal(one.Taken) || !now.Received.Equal(got.Received) {
			s.Errorf("sealed it is %+v", now)
		}
		s.equal("pins", now.Pins, []string{"keep"})
		if err := s.r.Unseal(s.ctx, now); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Unseal: %v, want ErrBusy", err)
		}
		if err := s.r.Destroy(s.ctx, now); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Destroy: %v, want ErrBusy", err)
		}
		s.must(s.r.Unpin(s.ctx, now, "keep"))
		s.must(s.r.Unseal(s.ctx, now))
		s.equal("unsealed", s.here()[0].Sealed, false)
		s.must(s.r.Destroy(s.ctx, now))
		s.must(s.r.Destroy(s.ctx, now))
		s.equal("replicas", len(s.here()), 0)
		s.same(s.replicate(one, nil), one, false)
	}},
	{"a base that was destroyed leaves what was built on it", func(s *replicas) {
		ds := s.planted("survivor")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		three := s.tended(ds, 3)
		first, second := s.replicate(one, nil), s.replicate(two, &one)
		s.must(s.r.Destroy(s.ctx, first))
		s.must(s.d.Destroy(s.ctx, one))
		s.same(second, two, s.rich(ds))
		s.same(s.replicate(three, &two), three, s.rich(ds))
	}},
	{"what is here is ErrExists", func(s *replicas) {
		ds := s.planted("twice")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		s.replicate(one, nil)
		s.replicate(two, &one)
		before := s.here()
		for _, base := range []*driver.Snapshot{nil, &one} {
			_, err := s.r.Receive(s.ctx, announce(two, base), bytes.NewReader(s.stream(two, base)))
			if !errors.Is(err, driver.ErrExists) {
				s.Errorf("Receive: %v, want ErrExists", err)
			}
		}
		s.unchanged("ErrExists", before)
	}},
	{"all of a dataset that is here already is ErrDiverged", func(s *replicas) {
		ds := s.planted("diverged")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		s.replicate(one, nil)
		before := s.here()
		_, err := s.r.Receive(s.ctx, announce(two, nil), bytes.NewReader(s.stream(two, nil)))
		if !errors.Is(err, driver.ErrDiverged) {
			s.Fatalf("Receive: %v, want ErrDiverged", err)
		}
		for _, side := range []driver.SetID{one.Set, two.Set} {
			if !strings.Contains(err.Error(), string(side)) {
				s.Errorf("%q does not name %s", err, side)
			}
		}
		s.unchanged("ErrDiverged", before)
	}},
	{"a base that is not here is ErrNotFound", func(s *replicas) {
		ds := s.planted("no base")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		three := s.tended(ds, 3)
		in := func() *bytes.Reader { return bytes.NewReader(s.stream(three, &two)) }
		if _, err := s.r.Receive(s.ctx, announce(three, &two), in()); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("Receive into nothing: %v, want ErrNotFound", err)
		}
		s.equal("replicas", len(s.here()), 0)
		s.replicate(one, nil)
		before := s.here()
		if _, err := s.r.Receive(s.ctx, announce(three, &two), in()); !errors.Is(err, driver.ErrNotFound) {
			s.Errorf("Receive: %v, want ErrNotFound", err)
		}
		s.unchanged("ErrNotFound", before)
	}},
	{"host and place do not see each other", func(s *replicas) {
		ds := s.planted("apart")
		one := s.sealed(ds)
		replica := s.replicate(one, nil)
		for _, listed := range s.list() {
			if listed.Name == replica.Name || listed.Dataset == replica.Dataset {
				s.Errorf("the driver lists the replica %+v", listed)
			}
		}
		for _, listed := range s.here() {
			if listed.Name == one.Name || listed.Dataset == one.Dataset {
				s.Errorf("the place lists the source %+v", listed)
			}
		}
		for who, tc := range map[string]struct {
			p     driver.Pruner
			alien driver.Snapshot
		}{"driver": {s.d, replica}, "place": {s.r, one}} {
			for what, err := range map[string]error{
				"Unseal": tc.p.Unseal(s.ctx, tc.alien), "Destroy": tc.p.Destroy(s.ctx, tc.alien),
				"Pin": tc.p.Pin(s.ctx, tc.alien, "mine"),
			} {
				if !errors.Is(err, driver.ErrForeign) {
					s.Errorf("%s: %s: %v, want ErrForeign", who, what, err)
				}
			}
		}
		if err := s.r.Seal(s.ctx, "frozen", one); err == nil {
			s.Error("the place sealed the source")
		}
		s.equal("the source", s.only(ds), one)
		s.equal("the replica", s.here(), []driver.Snapshot{replica})
	}},
	{"a place sees nothing of another", func(s *replicas) {
		one := s.sealed(s.planted("two places"))
		first := s.replicate(one, nil)
		s.r = s.rs.Place(s.T)()
		s.equal("replicas in the other", len(s.here()), 0)
		if err := s.r.Destroy(s.ctx, first); !errors.Is(err, driver.ErrForeign) {
			s.Errorf("Destroy: %v, want ErrForeign", err)
		}
		s.same(s.replicate(one, nil), one, false)
		s.r = s.open()
		s.equal("in the first", s.here(), []driver.Snapshot{first})
	}},
	{"an ended context leaves the place as it is", func(s *replicas) {
		ds := s.planted("ended")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		got := s.replicate(one, nil)
		stream := s.stream(two, &one)
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		var out bytes.Buffer
		_, listErr := s.r.Snapshots(ctx)
		_, receiveErr := s.r.Receive(ctx, announce(two, &one), bytes.NewReader(stream))
		_, mountErr := s.r.Mount(ctx, got, s.TempDir())
		for what, err := range map[string]error{
			"Snapshots": listErr, "Receive": receiveErr, "Mount": mountErr, "Destroy": s.r.Destroy(ctx, got),
			"Seal": s.r.Seal(ctx, "frozen", got), "Send": s.sender().Send(ctx, driver.SendRequest{Snapshot: one}, &out),
		} {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("%s: %v, want Canceled", what, err)
			}
		}
		s.unchanged("ended", []driver.Snapshot{got})
		s.equal("sent", out.Len(), 0)
	}},
	{"the place has room", func(s *replicas) {
		space, err := s.r.Space(s.ctx)
		if err != nil || space.FreeBytes == 0 || space.TotalBytes < space.FreeBytes {
			s.Errorf("Space: %+v, %v", space, err)
		}
		s.equal("kind", s.r.Kind(), s.d.Kind())
	}},
}
