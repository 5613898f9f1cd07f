package btrfs_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// noisy is a dataset with one snapshot, whose stream has some MiB.
func noisy(t *testing.T, top string) (d *btrfs.Driver, one driver.Snapshot) {
	t.Helper()
	ds := dataset(t, top, "d")
	text := make([]byte, 6<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(text)
	if err := os.WriteFile(filepath.Join(ds.Name, "noise"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	d = btrfs.New()
	return d, takeAndSeal(t, d, requestOf(t, 1, ds))[0]
}

func partials(t *testing.T, r driver.Receiver) []driver.Partial {
	t.Helper()
	got, err := r.Partials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// breakAt lets a transfer break when n bytes of the stream have come.
func breakAt(t *testing.T, r driver.Receiver, req driver.ReceiveRequest, stream []byte, n int) driver.Partial {
	t.Helper()
	if _, err := r.Receive(t.Context(), req, bytes.NewReader(stream[:n])); !errors.Is(err, driver.ErrBadStream) {
		t.Fatalf("Receive: %v, want ErrBadStream", err)
	}
	left := partials(t, r)
	if len(left) != 1 {
		t.Fatalf("kept: %+v", left)
	}
	return left[0]
}

// TestBrokenAgainAndAgain sends little twice.
func TestBrokenAgainAndAgain(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d, one := noisy(t, top)
	place := mkdir(t, top, "place")
	whole := len(send(t, d, driver.SendRequest{Snapshot: one}))
	sent := 0
	req := driver.ReceiveRequest{Snapshot: one}
	for range 4 {
		r := open(t, place, btrfs.Options{Resume: true}) // a new process
		stream := send(t, d, driver.SendRequest{Snapshot: one, Resume: req.Resume})
		n := min(whole/5, len(stream)-1)
		p := breakAt(t, r, req, stream, n)
		sent += n
		if p.GUID != one.GUID || p.Bytes != int64(sent) {
			t.Errorf("after %d bytes %+v are kept", sent, p)
		}
		req.Resume = p.Token
		if got := mustList(t, r); len(got) != 0 {
			t.Errorf("listed %+v", got)
		}
	}
	r := open(t, place, btrfs.Options{Resume: true})
	stream := send(t, d, driver.SendRequest{Snapshot: one, Resume: req.Resume})
	got, err := r.Receive(t.Context(), req, bytes.NewReader(stream))
	if err != nil || sent+len(stream) != whole {
		t.Fatalf("%d bytes were sent of %d: %v", sent+len(stream), whole, err)
	}
	want, err := os.ReadFile(filepath.Join(one.Name, "noise"))
	have, err2 := os.ReadFile(filepath.Join(got.Name, "noise"))
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(want, have) {
		t.Errorf("the replica differs: %v", err)
	}
	if left := partials(t, r); len(left) != 0 {
		t.Errorf("still kept: %+v", left)
	}
}

func TestWhatIsKeptIsNotBelieved(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d, one := noisy(t, top)
	r := open(t, mkdir(t, top, "place"), btrfs.Options{Resume: true})
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	req := driver.ReceiveRequest{Snapshot: one}
	for name, damage := range map[string]func(file string) error{
		"a byte of the first chunk": func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0xff, 0xfe, 0xfd}, 5000)
			return errors.Join(err, f.Close())
		},
		"the end is cut off": func(file string) error { return os.Truncate(file, 1<<20) },
		"a link":             func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) },
		"gone":               os.Remove,
	} {
		p := breakAt(t, r, req, stream, len(stream)/2)
		files, err := filepath.Glob(filepath.Join(r.Dir(), "*", "*.spool"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		if err := damage(files[0]); err != nil {
			t.Fatal(err)
		}
		again := req
		again.Resume = p.Token
		if _, err := r.Receive(t.Context(), again, bytes.NewReader(stream[p.Bytes:])); err == nil {
			t.Errorf("%s: received", name)
		}
		if got := mustList(t, r); len(got) != 0 {
			t.Errorf("%s: listed %+v", name, got)
		}
	}
	// Another announcement, or another token, than what is kept.
	p := breakAt(t, r, req, stream, len(stream)/2)
	for name, bad := range map[string]driver.ReceiveRequest{
		"another GUID":  {Snapshot: func() driver.Snapshot { s := one; s.GUID = hostileUUID; return s }(), Resume: p.Token},
		"another token": {Snapshot: one, Resume: "1048576:" + p.Token[len(p.Token)-64:]},
		"garbage":       {Snapshot: one, Resume: "x"},
	} {
		if _, err := r.Receive(t.Context(), bad, bytes.NewReader(stream[p.Bytes:])); !errors.Is(err, driver.ErrStale) {
			t.Errorf("%s: %v, want ErrStale", name, err)
		}
	}
	if _, err := r.Receive(t.Context(), req, bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if left := partials(t, r); len(left) != 0 {
		t.Errorf("still kept: %+v", left)
	}
}

// TestSendComparesWhatIsKept: a stream that is not the one that broke is ErrStale before anything is written.
func TestSendComparesWhatIsKept(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d, one := noisy(t, top)
	two := takeAndSeal(t, d, requestOf(t, 2, one.Dataset))[0]
	r := open(t, mkdir(t, top, "place"), btrfs.Options{Resume: true})
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	p := breakAt(t, r, driver.ReceiveRequest{Snapshot: one}, stream, len(stream)/2)
	for name, req := range map[string]driver.SendRequest{
		"another snapshot": {Snapshot: two, Resume: p.Token},
		"another base":     {Snapshot: two, Base: &one, Resume: p.Token},
		"another format":   {Snapshot: one, Formats: r.Formats(), Resume: p.Token},
		"garbage":          {Snapshot: one, Resume: "../x"},
	} {
		var out bytes.Buffer
		if err := d.Send(t.Context(), req, &out); !errors.Is(err, driver.ErrStale) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes; want ErrStale", name, err, out.Len())
		}
	}
	// With all of it kept, nothing is left to be sent.
	p = breakAt(t, r, driver.ReceiveRequest{Snapshot: one}, stream, len(stream)-1)
	rest := send(t, d, driver.SendRequest{Snapshot: one, Resume: p.Token})
	if len(rest) != 1 {
		t.Errorf("%d bytes are sent again, want 1", len(rest))
	}
}

// TestKilledWhileItKeeps: what was kept before a kill need not be sent again.
func TestKilledWhileItKeeps(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	d, one := noisy(t, top)
	place := mkdir(t, top, "place")
	st := replicaStorage{storage{top}, top, new(int), btrfs.Options{Resume: true}}
	r := open(t, place, st.o)
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	st.KillReceive(t, func() driver.Receiver { return r }, driver.ReceiveRequest{Snapshot: one}, stream, len(stream)*2/3)
	left := partials(t, r)
	if len(left) != 1 || left[0].Bytes < int64(len(stream)/3) {
		t.Fatalf("kept: %+v of %d bytes", left, len(stream))
	}
	rest := send(t, d, driver.SendRequest{Snapshot: one, Resume: left[0].Token})
	req := driver.ReceiveRequest{Snapshot: one, Resume: left[0].Token}
	if _, err := r.Receive(t.Context(), req, bytes.NewReader(rest)); err != nil {
		t.Error(err)
	}
	if got := names(t, place); len(got) != 3 { // the directory, the replica and its record
		t.Errorf("left %q", got)
	}
}
