package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/transporttest"
)

func open(t *testing.T) (*stub, *transport.Client) {
	t.Helper()
	s, conn := server(t)
	c, err := transport.Open(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return s, c
}

func TestRoundTrip(t *testing.T) {
	s, c := open(t)
	random := rand.NewChaCha8([32]byte{1})
	streams := map[string][]byte{}
	for k, size := range map[int]int{1: 0, 2: 1, 3: 256 << 10, 4: 5<<20 + 3} {
		data := make([]byte, size)
		_, _ = random.Read(data) // never fails
		streams[member(k, 4).GUID] = append(data, bytes.Repeat([]byte("and what can be compressed "), size/64)...)
	}
	var g errgroup.Group
	for k := 1; k <= 4; k++ {
		g.Go(func() error {
			m := member(k, 4)
			got, err := c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: m}, bytes.NewReader(streams[m.GUID]))
			if err == nil && (got.GUID != m.GUID || got.Name != "/place/"+m.GUID || got.Received.IsZero()) {
				err = errors.New("answered " + got.Name)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(streams, s.content, bytes.Equal) {
		t.Errorf("what came is not what was sent")
	}
	m := snapset.Assemble([]driver.Snapshot{member(1, 4), member(2, 4), member(3, 4), member(4, 4)}, nil)[0].Manifest
	for range 2 {
		if err := c.Commit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	l, err := c.List(t.Context(), "ccn", true)
	if err != nil {
		t.Fatal(err)
	}
	sets := l.Sets()
	if len(sets) != 1 || !sets[0].Complete || !sets[0].Recorded || sets[0].ID != id {
		t.Errorf("listed %+v", sets)
	}
	if diff := cmp.Diff(map[string][]string{"fake": {"fake-2"}}, l.Formats); diff != "" {
		t.Errorf("formats (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]driver.Partial{{GUID: "g", Token: "t", Bytes: 7}}, l.Partials); diff != "" {
		t.Errorf("partials (-want +got):\n%s", diff)
	}
	if c.Requests() != 7 {
		t.Errorf("%d requests", c.Requests())
	}
	if other, err := c.List(t.Context(), "other", false); err != nil || len(other.Snapshots) != 0 {
		t.Errorf("of another app: %+v, %v", other, err)
	}
}

// What goes wrong at one end is what the other end is told, and the connection serves on.
func TestFailures(t *testing.T) {
	s, c := open(t)
	endless := iotest.OneByteReader(neverending{})
	for _, want := range []error{driver.ErrDiverged, driver.ErrNoSpace, driver.ErrExists, driver.ErrStale, driver.ErrNotFound, driver.ErrBadStream} {
		s.fail = errors.Join(want, errors.New("and why"))
		_, err := c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, endless)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "and why") {
			t.Errorf("%v, want %v", err, want)
		}
		nothingYet, w := io.Pipe() // as of a storage that has yet to begin
		_, err = c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, nothingYet)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "and why") {
			t.Errorf("before the stream began: %v, want %v", err, want)
		}
		_ = w.Close() // never fails
	}
	s.fail = nil
	mine := errors.New("the disk of the source is gone")
	_, err := c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(mine)))
	if !errors.Is(err, mine) {
		t.Errorf("%v, want %v", err, mine)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Receive(ctx, driver.ReceiveRequest{Snapshot: member(1, 1)}, neverending{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
	if got := s.changed(); len(got) != 0 {
		t.Errorf("changed: %v", got)
	}
	if _, err := c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, strings.NewReader("whole")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

type neverending struct{}

func (neverending) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A server that is asked to end does, also while its client has not said a word.
func TestSilentClient(t *testing.T) {
	_, far := transporttest.Pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- transport.Serve(ctx, transport.Served{Place: &replicate.Place{}}, far) }()
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(20 * time.Second):
		t.Error("it still waits")
	}
}

// A connection that breaks, at whatever byte, leaves nothing that counts.
func TestBrokenConnection(t *testing.T) {
	for _, after := range []int{0, 1, 7, 8, 9, 20, 100, 300, 1000, 100_000, 300_000} {
		s, conn := server(t)
		c, err := transport.Open(&cut{ReadWriteCloser: conn, left: after})
		if err == nil {
			_, err = c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, io.LimitReader(rand.NewChaCha8([32]byte{2}), 1<<20))
			_ = c.Close()
		}
		if err == nil {
			t.Errorf("cut after %d bytes: no error", after)
		}
		if got := s.changed(); len(got) != 0 {
			t.Errorf("cut after %d bytes: changed %v", after, got)
		}
	}
}

// cut is a connection that ends after so many bytes were written.
type cut struct {
	io.ReadWriteCloser
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ReadWriteCloser.Write(p)
	}
	n, err := c.ReadWriteCloser.Write(p[:c.left])
	c.left = 0
	return n, errors.Join(err, io.ErrClosedPipe, c.Close())
}

func TestNotVolsnap(t *testing.T) {
	for _, tt := range []struct {
		says string
		want error
	}{
		{"Last login: Sat Nov 21\n", transport.ErrNotVolsnap},
		{"", transport.ErrNotVolsnap},
		{"VOLSNAP9", transport.ErrVersion},
	} {
		near, far := transporttest.Pair(t)
		if _, err := io.WriteString(far, tt.says); err != nil {
			t.Fatal(err)
		}
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := transport.Open(near)
		if err == nil {
			_, err = c.List(t.Context(), "", false)
			_ = c.Close()
		}
		if !errors.Is(err, tt.want) && tt.says != "" {
			t.Errorf("%q: %v, want %v", tt.says, err, tt.want)
		}
		if err == nil {
			t.Errorf("%q: no error", tt.says)
		}
	}
}

var _ replicate.Target = (*transport.Client)(nil)

// What can be compressed is, also behind a long stretch of what cannot.
func TestCompresses(t *testing.T) {
	noise := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise) // never fails
	text := bytes.Repeat([]byte("a line of a log\n"), 1<<20)
	for name, tc := range map[string]struct {
		body []byte
		most int64
	}{
		"text":                   {text, 1 << 20},
		"noise":                  {noise, 8<<20 + 64<<10},
		"noise, then a lot else": {slices.Concat(noise, text), 14 << 20},
	} {
		s, conn := server(t)
		line := &counted{ReadWriteCloser: conn}
		c, err := transport.Open(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(t.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, bytes.NewReader(tc.body)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.content[member(1, 1).GUID], tc.body) {
			t.Errorf("%s: what came is not what was sent", name)
		}
		if n := line.n.Load(); n > tc.most {
			t.Errorf("%s: %d bytes went over the line", name, n)
		}
		_ = c.Close()
	}
}

// counted counts what is written to it.
type counted struct {
	io.ReadWriteCloser
	n atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p)
	c.n.Add(int64(n))
	return n, err
}
