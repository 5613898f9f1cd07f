package drivertest

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

// ReplicaStorage is what RunReplicas needs: a storage to send from, and places to receive into.
type ReplicaStorage interface {
	Storage // its Driver is a driver.Sender too
	// Place makes an empty place for replicas, of the same kind, and removes it with the test. What it returns opens the place as
	// a new process would.
	Place(t testing.TB) (open func() driver.Receiver)
}

// Killer is a ReplicaStorage that can show what a killed process leaves.
type Killer interface {
	// KillReceive lets another process receive the stream into the place of open, and ends it by SIGKILL when it has read n
	// bytes of it.
	KillReceive(t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int)
}

// RunReplicas runs the contract of driver.Sender and driver.Receiver. Where files of a dataset can be made by system calls in
// Path(ds, "."), they are of every kind, and a replica is compared with its source by an independent digest of both.
func RunReplicas(t *testing.T, st ReplicaStorage) {
	t.Helper()
	for _, c := range someOf(t, slices.Concat(streamCases, replicaCases, brokenCases, busyCases, hostileCases)) {
		t.Run(c.name, func(t *testing.T) {
			s := &replicas{suite: &suite{T: t, st: st, d: st.Driver(), ctx: t.Context()}, rs: st, open: st.Place(t)}
			s.r = s.open()
			c.run(s)
		})
	}
}

type replicaCase struct {
	name string
	run  func(*replicas)
}

// replicas is one case under way.
type replicas struct {
	*suite
	rs   ReplicaStorage
	open func() driver.Receiver
	r    driver.Receiver
}

func (s *replicas) sender() driver.Sender {
	s.Helper()
	from, ok := s.d.(driver.Sender)
	if !ok {
		s.Fatalf("%T is no driver.Sender", s.d)
	}
	return from
}

// stream is what Send writes of a snapshot, in any format that the receiver reads.
func (s *replicas) stream(one driver.Snapshot, base *driver.Snapshot) []byte {
	s.Helper()
	var out bytes.Buffer
	s.must(s.sender().Send(s.ctx, driver.SendRequest{Snapshot: one, Base: base, Formats: s.r.Formats()}, &out))
	if out.Len() == 0 {
		s.Fatal("Send wrote nothing")
	}
	return out.Bytes()
}

// announce is an honest announcement.
func announce(one driver.Snapshot, base *driver.Snapshot) driver.ReceiveRequest {
	req := driver.ReceiveRequest{Snapshot: one}
	if base != nil {
		req.Base = base.GUID
	}
	return req
}

// replicate sends and receives.
func (s *replicas) replicate(one driver.Snapshot, base *driver.Snapshot) driver.Snapshot {
	s.Helper()
	got, err := s.r.Receive(s.ctx, announce(one, base), bytes.NewReader(s.stream(one, base)))
	s.must(err)
	return got
}

// here are the replicas.
func (s *replicas) here(ds ...driver.Dataset) []driver.Snapshot {
	s.Helper()
	got, err := s.r.Snapshots(s.ctx, ds...)
	s.must(err)
	return got
}

// unchanged finds what is here as it was.
func (s *replicas) unchanged(what string, before []driver.Snapshot) {
	s.Helper()
	s.equal(what+": the replicas afterwards", s.here(), before)
}

// rich is whether files of every kind can be made in a dataset.
func (s *replicas) rich(ds driver.Dataset) bool {
	st, err := os.Stat(s.st.Path(ds, "."))
	return err == nil && st.IsDir() && os.Geteuid() == 0
}

// mounter is what can show a snapshot.
type mounter interface {
	Mount(ctx context.Context, s driver.Snapshot, dir string) (unmount func(context.Context) error, err error)
}

// digest is what a snapshot holds.
func (s *replicas) digest(by mounter, one driver.Snapshot, rich bool) string {
	s.Helper()
	dir := s.TempDir()
	unmount, err := by.Mount(s.ctx, one, dir)
	s.must(err)
	text, err := digest(dir, rich)
	s.must(err)
	s.must(unmount(s.ctx))
	return text
}

// same compares a replica with its source in every respect.
func (s *replicas) same(replica, source driver.Snapshot, rich bool) {
	s.Helper()
	if replica.GUID != source.GUID || replica.Set != source.Set || replica.Member != source.Member || replica.Of != source.Of ||
		!replica.Taken.Equal(source.Taken) || replica.Fault != "" || replica.Dataset.Kind != source.Dataset.Kind {
		s.Errorf("the replica is %+v, its source %+v", replica, source)
	}
	s.equal("volumes", replica.Volumes, source.Volumes)
	s.equal("content", s.digest(s.r, replica, rich), s.digest(s.d, source, rich))
}

// blocking is a stream whose reader has to wait at a certain byte, until it is let go.
type blocking struct {
	io.Reader
	reached chan struct{}
	gate    chan struct{}
}

// block makes a stream that is held up after n bytes.
func block(stream []byte, n int) *blocking {
	b := &blocking{reached: make(chan struct{}), gate: make(chan struct{})}
	b.Reader = io.MultiReader(bytes.NewReader(stream[:n]), b.wait(), bytes.NewReader(stream[n:]))
	return b
}

// wait is an empty reader that blocks.
func (b *blocking) wait() io.Reader {
	return readFunc(func([]byte) (int, error) {
		close(b.reached)
		<-b.gate
		return 0, io.EOF
	})
}

// reach waits until the reader has come that far.
func (b *blocking) reach(s *replicas, done <-chan error) {
	s.Helper()
	select {
	case <-b.reached:
	case err := <-done:
		s.Fatalf("Receive ended before it had come that far: %v", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
