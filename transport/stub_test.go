package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// stub is a place in memory that keeps what it is sent, and counts each call that changes something.
type stub struct {
	driver.Receiver // what is not below panics: nothing may call it

	mu      sync.Mutex
	snaps   []driver.Snapshot
	content map[string][]byte
	changes []string
	fail    error         // of Receive, at once
	block   chan struct{} // Receive waits for it before it reads
}

func (s *stub) Kind() string      { return "fake" }
func (s *stub) Formats() []string { return []string{"fake-2"} }

func (s *stub) Snapshots(context.Context, ...driver.Dataset) ([]driver.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.snaps), nil
}

func (s *stub) Partials(context.Context) ([]driver.Partial, error) {
	return []driver.Partial{{GUID: "g", Token: "t", Bytes: 7}}, nil
}

func (s *stub) Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	if s.fail != nil {
		return driver.Snapshot{}, s.fail
	}
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return driver.Snapshot{}, ctx.Err()
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return driver.Snapshot{}, errors.Join(driver.ErrBadStream, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := req.Snapshot
	out.Name, out.Sealed, out.Pins, out.Received = "/place/"+out.GUID, false, nil, time.Unix(1_800_000_000, 0).UTC()
	s.snaps = append(s.snaps, out)
	s.content[out.GUID] = data
	s.changes = append(s.changes, "receive "+out.GUID)
	return out, nil
}

func (s *stub) change(what string, snaps []driver.Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range snaps {
		s.changes = append(s.changes, what+" "+one.GUID)
		for i := range s.snaps {
			if what == "seal" && s.snaps[i].GUID == one.GUID {
				s.snaps[i].Sealed = true
			}
		}
	}
	return nil
}

func (s *stub) Seal(_ context.Context, _ string, snaps ...driver.Snapshot) error {
	return s.change("seal", snaps)
}

func (s *stub) Unseal(_ context.Context, snaps ...driver.Snapshot) error {
	return s.change("unseal", snaps)
}

func (s *stub) Destroy(_ context.Context, snaps ...driver.Snapshot) error {
	return s.change("destroy", snaps)
}

func (s *stub) Pin(_ context.Context, one driver.Snapshot, _ string) error {
	return s.change("pin", []driver.Snapshot{one})
}

func (s *stub) Unpin(_ context.Context, one driver.Snapshot, _ string) error {
	return s.change("unpin", []driver.Snapshot{one})
}

func (s *stub) changed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes)
}

// server serves a stub, and returns the client's end. The server has to end within a while after the client.
func server(t *testing.T) (*stub, net.Conn) {
	t.Helper()
	s := &stub{content: map[string][]byte{}}
	place := &replicate.Place{Receivers: []driver.Receiver{s}, Store: snapset.Store{Dir: t.TempDir()}}
	near, far := transporttest.Pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = transport.Serve(t.Context(), transport.Served{Place: place}, far) // what a hostile client makes of the connection is no failure
	}()
	t.Cleanup(func() {
		_ = near.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the server did not end after its client")
		}
	})
	return s, near
}

const id = driver.SetID("ccn-20261121T020000.123Z")

func member(k, of int) driver.Snapshot {
	guid := string(rune('a' + k))
	return driver.Snapshot{
		Dataset: driver.Dataset{Kind: "fake", Name: "/" + guid}, Name: "/s/" + guid, Set: id, Member: k, Of: of, GUID: guid, Order: 5,
		Volumes: []driver.Volume{{Name: guid, Path: "."}}, Sealed: true, Consistency: "frozen",
	}
}
