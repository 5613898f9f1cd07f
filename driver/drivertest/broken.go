package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

// places are positions in a stream of n bytes at which it is broken: near both ends, and between; of these there are fewer where
// each costs seconds.
func places(n int) []int {
	out := []int{0, 1, 16, 17, 40, 100, n - 40, n - 11, n - 1}
	between := 16
	if testhost.Slow() > 1 {
		between = 4
	}
	for i := 1; i < between; i++ {
		out = append(out, n*i/between+i)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(at int) bool { return at < 0 || at >= n })
}

var errBroken = errors.New("the line is broken")

// small are two snapshots of a dataset whose streams are short enough to be received often.
func (s *replicas) small(name string) (one, two driver.Snapshot) {
	s.Helper()
	ds := s.dataset(name, "1")
	s.st.Write(s.T, ds, "g", "content")
	one = s.sealed(ds)
	s.st.Write(s.T, ds, "f", "changed")
	return one, s.sealed(ds)
}

var brokenCases = []replicaCase{
	{"a stream that ends early is ErrBadStream", func(s *replicas) {
		one, two := s.small("truncated")
		full, step := s.stream(one, nil), s.stream(two, &one)
		for _, at := range places(len(full)) {
			if _, err := s.r.Receive(s.ctx, announce(one, nil), bytes.NewReader(full[:at])); !errors.Is(err, driver.ErrBadStream) {
				s.Errorf("cut at %d of %d: %v, want ErrBadStream", at, len(full), err)
			}
			s.unchanged("cut", nil)
		}
		first := s.replicate(one, nil)
		s.same(first, one, false)
		for _, at := range places(len(step)) {
			if _, err := s.r.Receive(s.ctx, announce(two, &one), bytes.NewReader(step[:at])); !errors.Is(err, driver.ErrBadStream) {
				s.Errorf("cut at %d of %d: %v, want ErrBadStream", at, len(step), err)
			}
			s.unchanged("cut", []driver.Snapshot{first})
		}
		s.same(s.replicate(two, &one), two, false)
	}},
	{"a damaged stream makes nothing, or what it should", func(s *replicas) {
		one, _ := s.small("damaged")
		stream := s.stream(one, nil)
		want := s.digest(s.d, one, false)
		for _, at := range places(len(stream)) {
			bad := bytes.Clone(stream)
			bad[at] ^= 0x55
			got, err := s.r.Receive(s.ctx, announce(one, nil), bytes.NewReader(bad))
			if err != nil {
				s.unchanged("damaged", nil)
				continue
			}
			s.equal("content", s.digest(s.r, got, false), want)
			s.must(s.r.Destroy(s.ctx, got))
		}
		s.same(s.replicate(one, nil), one, false)
	}},
	{"a stream of something else is ErrBadStream", func(s *replicas) {
		one, two := s.small("swapped")
		other := s.sealed(s.dataset("another", "2"))
		first := s.replicate(one, nil)
		for name, tc := range map[string]struct {
			req    driver.ReceiveRequest
			stream []byte
		}{
			"garbage":                  {announce(two, &one), bytes.Repeat([]byte("garbage "), 5000)},
			"nothing":                  {announce(two, &one), nil},
			"another snapshot":         {announce(other, nil), s.stream(one, nil)},
			"another dataset's":        {announce(two, &one), s.stream(other, nil)},
			"all of it, said to build": {announce(two, &one), s.stream(two, nil)},
			"an increment, said to be all": {
				driver.ReceiveRequest{Snapshot: driver.Snapshot{
					Dataset: other.Dataset, Set: two.Set, Member: 1, Of: 1, GUID: two.GUID, Taken: two.Taken,
				}}, s.stream(two, &one),
			},
		} {
			if _, err := s.r.Receive(s.ctx, tc.req, bytes.NewReader(tc.stream)); !errors.Is(err, driver.ErrBadStream) {
				s.Errorf("%s: %v, want ErrBadStream", name, err)
			}
			s.unchanged(name, []driver.Snapshot{first})
		}
		s.same(s.replicate(two, &one), two, false)
	}},
	{"a reader that fails, fails Receive", func(s *replicas) {
		one, _ := s.small("line")
		stream := s.stream(one, nil)
		for _, at := range []int{0, len(stream) / 2, len(stream)} {
			in := io.MultiReader(bytes.NewReader(stream[:at]), readFunc(func([]byte) (int, error) { return 0, errBroken }))
			if _, err := s.r.Receive(s.ctx, announce(one, nil), in); err == nil {
				s.Errorf("broken at %d of %d: no error", at, len(stream))
			}
			s.unchanged("broken", nil)
		}
		s.same(s.replicate(one, nil), one, false)
	}},
	{"a writer that fails, fails Send", func(s *replicas) {
		one := s.sealed(s.planted("writer"))
		total := len(s.stream(one, nil))
		for _, at := range []int{0, total / 2, total - 1} {
			n := 0
			err := s.sender().Send(s.ctx, driver.SendRequest{Snapshot: one}, writeFunc(func(p []byte) (int, error) {
				if n += len(p); n > at {
					return 0, errBroken
				}
				return len(p), nil
			}))
			if !errors.Is(err, errBroken) {
				s.Errorf("broken after %d of %d bytes: %v", at, total, err)
			}
		}
		s.must(s.d.Destroy(s.ctx, one)) // nothing goes on behind it
	}},
	{"the end of the context ends Send", func(s *replicas) {
		one := s.sealed(s.planted("send ended"))
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		err := s.sender().Send(ctx, driver.SendRequest{Snapshot: one}, writeFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), ctx.Err()
		}))
		if err == nil {
			s.Error("Send did not fail")
		}
		s.must(s.d.Destroy(s.ctx, one))
	}},
	{"the end of the context ends Receive of a line that is silent", func(s *replicas) {
		one, _ := s.small("silent")
		stream := s.stream(one, nil)
		for _, at := range []int{0, len(stream) / 2, len(stream) - 1} {
			in := block(stream, at)
			ctx, cancel := context.WithCancel(s.ctx)
			done := make(chan error, 1)
			go func() {
				_, err := s.r.Receive(ctx, announce(one, nil), in)
				done <- err
			}()
			in.reach(s, done)
			cancel()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					s.Errorf("silent at %d: %v, want Canceled", at, err)
				}
			case <-time.After(30 * time.Second):
				s.Errorf("silent at %d: Receive goes on", at)
			}
			close(in.gate)
			s.unchanged("silent", nil)
		}
		s.same(s.replicate(one, nil), one, false)
	}},
	{"what a killed process leaves is invisible, and in nobody's way", func(s *replicas) {
		k, ok := s.rs.(Killer)
		if !ok {
			s.Skip("the storage cannot be killed")
		}
		ds := s.planted("killed")
		one := s.sealed(ds)
		two := s.tended(ds, 2)
		full, step := s.stream(one, nil), s.stream(two, &one)
		for _, at := range []int{0, len(full) / 3, len(full) - 1} {
			k.KillReceive(s.T, s.open, announce(one, nil), full, at)
			s.r = s.open()
			s.unchanged("killed", nil)
		}
		first := s.replicate(one, nil)
		for _, at := range []int{len(step) / 2, len(step) - 1} {
			k.KillReceive(s.T, s.open, announce(two, &one), step, at)
			s.r = s.open()
			s.unchanged("killed", []driver.Snapshot{first})
		}
		s.same(s.replicate(two, &one), two, s.rich(ds))
	}},
	{"a broken transfer goes on where it stopped if the place keeps it, or begins anew", func(s *replicas) {
		ds := s.planted("resumed")
		one := s.sealed(ds)
		stream := s.stream(one, nil)
		_, err := s.r.Receive(s.ctx, announce(one, nil), bytes.NewReader(stream[:len(stream)*2/3]))
		if err == nil {
			s.Fatal("half a stream was received")
		}
		s.r = s.open()
		left, err := s.r.Partials(s.ctx)
		s.must(err)
		if len(left) == 0 {
			s.unchanged("broken", nil)
			s.same(s.replicate(one, nil), one, s.rich(ds))
			return
		}
		p := left[0]
		if len(left) != 1 || p.GUID != one.GUID || p.Base != "" || p.Bytes <= 0 || p.Token == "" {
			s.Fatalf("kept: %+v", left)
		}
		s.unchanged("broken", nil)
		send := driver.SendRequest{Snapshot: one, Formats: s.r.Formats(), Resume: p.Token}
		req := announce(one, nil)
		req.Resume = p.Token
		var rest bytes.Buffer
		s.must(s.sender().Send(s.ctx, send, &rest))
		if int64(rest.Len())+p.Bytes > int64(len(stream))+1<<20 {
			s.Errorf("%d bytes were kept, and %d of %d sent again", p.Bytes, rest.Len(), len(stream))
		}
		got, err := s.r.Receive(s.ctx, req, &rest)
		s.must(err)
		s.same(got, one, s.rich(ds))
		left, err = s.r.Partials(s.ctx)
		s.must(err)
		s.equal("kept afterwards", len(left), 0)
	}},
}
