// Package transporttest puts a connection between a storage and the suite of driver/drivertest, so that what a peer gets is held to
// the same contract as what is here.
package transporttest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
)

// Storage is st, of which everything that goes over the wire does: streams in both directions, and listings. What a peer may not
// do is done beside the connection. apps are those whose sets the suite takes.
func Storage(t testing.TB, st drivertest.ReplicaStorage, apps ...string) drivertest.ReplicaStorage {
	return storage{st, t, apps}
}

type storage struct {
	drivertest.ReplicaStorage
	t    testing.TB
	apps []string
}

// Driver is one that sends from the other side.
func (s storage) Driver() driver.Driver {
	d := s.ReplicaStorage.Driver()
	from, ok := d.(replicate.OriginSource)
	if !ok {
		s.t.Fatalf("%T sends nothing", d)
	}
	origin := &replicate.Origin{Sources: []replicate.OriginSource{from}, Store: snapset.Store{Dir: s.t.TempDir()}, Apps: s.apps, Client: client}
	return sender{d, Connect(s.t, transport.Served{Origin: origin}).Origin().Source(d.Kind())}
}

type sender struct {
	driver.Driver
	far replicate.Source
}

// Send implements driver.Sender. What is fetched has to be kept as a base meanwhile.
func (s sender) Send(ctx context.Context, req driver.SendRequest, w io.Writer) (err error) {
	base := driver.Base(replicate.BaseAt(client, "place"))
	if err := s.far.Pin(ctx, req.Snapshot, base); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.far.Unpin(context.WithoutCancel(ctx), req.Snapshot, base)) }()
	return s.far.Send(ctx, req, w)
}

const client = "suite"

// Place implements drivertest.ReplicaStorage.
func (s storage) Place(t testing.TB) func() driver.Receiver {
	t.Helper()
	open := s.ReplicaStorage.Place(t)
	return func() driver.Receiver {
		r := &receiver{Receiver: open()}
		place := &replicate.Place{Receivers: []driver.Receiver{behind{r.Receiver, r}}, Store: snapset.Store{Dir: t.TempDir()}}
		r.far = Connect(t, transport.Served{Place: place})
		return r
	}
}

// KillReceive implements drivertest.Killer: it is the other side that is killed.
func (s storage) KillReceive(
	t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int,
) {
	t.Helper()
	k, ok := s.ReplicaStorage.(drivertest.Killer)
	if !ok {
		t.Fatalf("%T cannot be killed", s.ReplicaStorage)
	}
	k.KillReceive(t, func() driver.Receiver {
		r, ok := open().(*receiver)
		if !ok {
			t.Fatal("not our place")
		}
		return r.Receiver
	}, req, stream, n)
}

// receiver is a place at the other side.
type receiver struct {
	driver.Receiver
	far *transport.Client

	mu    sync.Mutex
	begun map[string]chan struct{} // by GUID: closed when the other side reads the first byte
	busy  sync.WaitGroup           // streams that the other side is at
}

// Receive implements driver.Receiver. The suite takes what was read of a stream for a sign of what the receiver has done: so
// nothing of it is read before the other side wants it. And it takes the end of Receive for that of all that belongs to it,
// while the client of a call that was given up does not wait for the other side.
func (r *receiver) Receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	begun := make(chan struct{})
	r.mu.Lock()
	if r.begun == nil {
		r.begun = map[string]chan struct{}{}
	}
	r.begun[req.Snapshot.GUID] = begun
	r.mu.Unlock()
	got, err := r.far.Receive(ctx, req, &wanted{Reader: in, begun: begun, closed: make(chan struct{})})
	if ctx.Err() != nil {
		r.busy.Wait()
	}
	return got, err
}

// wanted is a stream that begins when it is wanted.
type wanted struct {
	io.Reader
	begun, closed chan struct{}
}

func (w *wanted) Read(p []byte) (int, error) {
	select {
	case <-w.begun:
		return w.Reader.Read(p)
	case <-w.closed:
		return 0, io.ErrClosedPipe
	}
}

func (w *wanted) Close() error {
	close(w.closed)
	return nil
}

// behind is the place at its own side.
type behind struct {
	driver.Receiver
	of *receiver
}

// Receive implements driver.Receiver.
func (b behind) Receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	b.of.busy.Add(1)
	defer b.of.busy.Done()
	return b.Receiver.Receive(ctx, req, &first{Reader: in, do: func() { b.of.begin(req.Snapshot.GUID) }})
}

// Send implements driver.Sender.
func (b behind) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	from, ok := b.Receiver.(driver.Sender)
	if !ok {
		return driver.ErrNotSupported
	}
	return from.Send(ctx, req, w)
}

func (r *receiver) begin(guid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begun := r.begun[guid]; begun != nil {
		close(begun)
		delete(r.begun, guid)
	}
}

// first tells of the first Read.
type first struct {
	io.Reader
	once sync.Once
	do   func()
}

func (f *first) Read(p []byte) (int, error) {
	f.once.Do(f.do)
	return f.Reader.Read(p)
}

// Send implements driver.Sender.
func (r *receiver) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	return r.far.Send(ctx, req, w)
}

// Snapshots implements driver.Lister.
func (r *receiver) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	l, err := r.far.List(ctx, "", false)
	if err != nil {
		return nil, err
	}
	var out []driver.Snapshot
	for _, s := range l.Snapshots {
		if len(ds) == 0 || slices.Contains(ds, s.Dataset) {
			out = append(out, s)
		}
	}
	return out, nil
}

// Partials implements driver.Receiver.
func (r *receiver) Partials(ctx context.Context) ([]driver.Partial, error) {
	l, err := r.far.List(ctx, "", false)
	return l.Partials, err
}

// Connect serves in this process, and returns the client's end. Server and client end with the test.
func Connect(t testing.TB, what transport.Served) *transport.Client {
	t.Helper()
	near, far := Pair(t)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(done)
		_ = transport.Serve(ctx, what, far) // what a client makes of the connection is no failure
	}()
	c, err := transport.Open(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		defer cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the server did not end after its client")
		}
	})
	return c
}

// Pair is the two ends of a connection in this process.
func Pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		ends[i] = c
	}
	t.Cleanup(func() { _, _ = ends[0].Close(), ends[1].Close() })
	return ends[0], ends[1]
}
