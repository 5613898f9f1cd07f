package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
)

var busyCases = []replicaCase{
	{"what is being sent is busy", func(s *replicas) {
		ds := s.planted("sending")
		one := s.sealed(ds)
		big := make([]byte, 8<<20) // more than may be on its way, where there is a way
		_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
		s.st.Write(s.T, ds, "big", string(big))
		two := s.tended(ds, 2)
		var once sync.Once
		reached, gate := make(chan struct{}), make(chan struct{})
		var out bytes.Buffer
		done := make(chan error, 1)
		go func() {
			done <- s.sender().Send(s.ctx, driver.SendRequest{Snapshot: two, Base: &one}, writeFunc(func(p []byte) (int, error) {
				once.Do(func() { close(reached); <-gate })
				return out.Write(p)
			}))
		}()
		select {
		case <-reached:
		case err := <-done:
			s.Fatalf("Send: %v", err)
		}
		again := s.d // another process has the same storage; the fake is one alone
		for _, busy := range []driver.Snapshot{one, two} {
			if err := again.Destroy(s.ctx, busy); !errors.Is(err, driver.ErrBusy) {
				s.Errorf("Destroy(%s): %v, want ErrBusy", busy.Name, err)
			}
			if err := again.Unseal(s.ctx, busy); !errors.Is(err, driver.ErrBusy) {
				s.Errorf("Unseal(%s): %v, want ErrBusy", busy.Name, err)
			}
		}
		third := s.sealed(ds) // others go on
		close(gate)
		s.must(<-done)
		s.replicate(one, nil)
		got, err := s.r.Receive(s.ctx, announce(two, &one), &out)
		s.must(err)
		s.same(got, two, s.rich(ds))
		s.must(s.d.Destroy(s.ctx, one, two, third))
	}},
	{"the base of what arrives is busy", func(s *replicas) {
		one, two := s.small("arriving")
		first := s.replicate(one, nil)
		stream := s.stream(two, &one)
		in := block(stream, len(stream)-1)
		done := s.receive(announce(two, &one), in)
		in.reach(s, done)
		if err := s.open().Destroy(s.ctx, first); !errors.Is(err, driver.ErrBusy) {
			s.Errorf("Destroy: %v, want ErrBusy", err)
		}
		s.unchanged("while it arrives", []driver.Snapshot{first})
		close(in.gate)
		s.must(<-done)
		s.must(s.r.Destroy(s.ctx, first))
	}},
	{"one stream of a dataset arrives at a time", func(s *replicas) {
		one, two := s.small("one at a time")
		stream := s.stream(one, nil)
		in := block(stream, len(stream)/2)
		done := s.receive(announce(one, nil), in)
		in.reach(s, done)
		for _, later := range []driver.Snapshot{one, two} {
			_, err := s.open().Receive(s.ctx, announce(later, nil), bytes.NewReader(s.stream(later, nil)))
			if !errors.Is(err, driver.ErrBusy) {
				s.Errorf("Receive meanwhile: %v, want ErrBusy", err)
			}
		}
		s.unchanged("meanwhile", nil)
		close(in.gate)
		s.must(<-done)
		s.same(s.here()[0], one, false)
		s.same(s.replicate(two, &one), two, false)
	}},
	{"streams of different datasets arrive together", func(s *replicas) {
		const datasets = 4
		var g errgroup.Group
		for i := range datasets {
			ds := s.dataset(fmt.Sprint("parallel ", i), fmt.Sprint(i))
			one := s.sealed(ds)
			s.st.Write(s.T, ds, "f", "next")
			two := s.sealed(ds)
			full, step, r := s.stream(one, nil), s.stream(two, &one), s.open()
			g.Go(func() error {
				if _, err := r.Receive(s.ctx, announce(one, nil), bytes.NewReader(full)); err != nil {
					return err
				}
				_, err := r.Receive(s.ctx, announce(two, &one), bytes.NewReader(step))
				return err
			})
		}
		s.must(g.Wait())
		s.equal("replicas", len(s.here()), 2*datasets)
	}},
}

// receive receives in the background.
func (s *replicas) receive(req driver.ReceiveRequest, in *blocking) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.r.Receive(s.ctx, req, in)
		done <- err
	}()
	return done
}
