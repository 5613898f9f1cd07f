//go:build vmtest

package zfs_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// noise writes a file that cannot be compressed.
func noise(t testing.TB, dir string, size int) {
	t.Helper()
	text := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(text)
	if err := os.WriteFile(filepath.Join(dir, "noise"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// kept is the one transfer that broke.
func kept(t testing.TB, r driver.Receiver) driver.Partial {
	t.Helper()
	got, err := r.Partials(t.Context())
	if err != nil || len(got) != 1 {
		t.Fatalf("kept: %+v, %v", got, err)
	}
	return got[0]
}

// TestResume breaks a full stream and an increment again and again, and sends little twice.
func TestResume(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	noise(t, top+"/a", 24<<20)
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	write(t, top+"/a", "noise", strings.Repeat("other", 3<<20))
	two := takeAndSeal(t, d, requestOf(t, 2, ds))[0]
	place := newPlace(t, pool, "place")
	for _, step := range []struct {
		of   driver.Snapshot
		base *driver.Snapshot
	}{{one, nil}, {two, &one}} {
		req := announce(step.of, step.base)
		whole := send(t, d, driver.SendRequest{Snapshot: step.of, Base: step.base})
		sent, had := 0, len(here(t, into(t, place)))
		for range 2 {
			r := into(t, place) // a new process
			stream := send(t, d, driver.SendRequest{Snapshot: step.of, Base: step.base, Resume: req.Resume})
			n := len(whole) * 2 / 5
			if _, err := r.Receive(t.Context(), req, bytes.NewReader(stream[:n])); !errors.Is(err, driver.ErrBadStream) {
				t.Fatalf("Receive: %v, want ErrBadStream", err)
			}
			sent += n
			p := kept(t, r)
			if p.GUID != req.Snapshot.GUID || p.Base != req.Base || p.Bytes > int64(sent) || p.Bytes < int64(sent)/2 {
				t.Errorf("after %d bytes %+v is kept", sent, p)
			}
			req.Resume = p.Token
			if got := here(t, r); len(got) != had {
				t.Errorf("listed %+v", got)
			}
		}
		r := into(t, place)
		stale(t, d, r, req, step.base, whole)
		stream := send(t, d, driver.SendRequest{Snapshot: step.of, Base: step.base, Resume: req.Resume})
		got, err := r.Receive(t.Context(), req, bytes.NewReader(stream))
		if err != nil || sent+len(stream) > len(whole)*3/2 {
			t.Fatalf("%d bytes were sent of %d: %v", sent+len(stream), len(whole), err)
		}
		if left, err := r.Partials(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("still kept: %+v, %v", left, err)
		}
		same(t, d, step.of, r, got)
	}
	baseThatGoes(t, d, into(t, place), two)
}

// baseThatGoes lets somebody destroy the base once the announcement was found to fit.
func baseThatGoes(t *testing.T, d *zfs.Driver, r *zfs.Replicas, base driver.Snapshot) {
	t.Helper()
	next := takeAndSeal(t, d, requestOf(t, 3, base.Dataset))[0]
	all := here(t, r)
	var destroyed error
	goes := readFunc(func([]byte) (int, error) {
		destroyed = exec.Command("zfs", "destroy", all[len(all)-1].Name).Run()
		return 0, io.EOF
	})
	stream := bytes.NewReader(send(t, d, driver.SendRequest{Snapshot: next, Base: &base}))
	_, err := r.Receive(t.Context(), announce(next, &base), io.MultiReader(goes, stream))
	if !errors.Is(err, driver.ErrDiverged) || !strings.Contains(err.Error(), string(next.Set)) || destroyed != nil {
		t.Errorf("%v, want ErrDiverged; %v", err, destroyed)
	}
	if got := here(t, r); len(got) != len(all)-1 {
		t.Errorf("listed %+v", got)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// stale tries what does not fit what is kept.
func stale(t *testing.T, d *zfs.Driver, r *zfs.Replicas, good driver.ReceiveRequest, base *driver.Snapshot, stream []byte) {
	t.Helper()
	other := good.Snapshot
	other.GUID = "4711"
	for name, req := range map[string]driver.ReceiveRequest{
		"another GUID":  {Snapshot: other, Base: good.Base, Resume: good.Resume},
		"another token": {Snapshot: good.Snapshot, Base: good.Base, Resume: good.Resume + "0"},
	} {
		if _, err := r.Receive(t.Context(), req, bytes.NewReader(stream)); !errors.Is(err, driver.ErrStale) {
			t.Errorf("%s: %v, want ErrStale", name, err)
		}
	}
	if _, err := r.Receive(t.Context(), good, bytes.NewReader(stream)); !errors.Is(err, driver.ErrBadStream) {
		t.Errorf("all of the stream, said to go on: %v, want ErrBadStream", err)
	}
	var out bytes.Buffer
	for name, req := range map[string]driver.SendRequest{
		"another token": {Snapshot: good.Snapshot, Base: base, Resume: good.Resume + "0"},
		"another GUID":  {Snapshot: good.Snapshot, Base: flip(base, good.Snapshot), Resume: good.Resume},
	} {
		if err := d.Send(t.Context(), req, &out); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}
	if p := kept(t, r); p.Token != good.Resume {
		t.Errorf("%+v is kept", p)
	}
}

// flip is no base where there is one, and one where there is none.
func flip(base *driver.Snapshot, s driver.Snapshot) *driver.Snapshot {
	if base != nil {
		return nil
	}
	return &s
}

// same compares what two snapshots hold.
func same(t testing.TB, d *zfs.Driver, source driver.Snapshot, r *zfs.Replicas, replica driver.Snapshot) {
	t.Helper()
	read := func(mount func(dir string) (func() error, error)) []byte {
		dir := t.TempDir()
		unmount, err := mount(dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "noise"))
		if err := errors.Join(err, unmount()); err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := read(func(dir string) (func() error, error) {
		unmount, err := d.Mount(t.Context(), source, dir)
		return func() error { return unmount(t.Context()) }, err
	})
	got := read(func(dir string) (func() error, error) {
		unmount, err := r.Mount(t.Context(), replica, dir)
		return func() error { return unmount(t.Context()) }, err
	})
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs from %s", replica.Name, source.Name)
	}
}

// TestWhatAnotherReceiveKeeps: it is not listed, not removed, and named.
func TestWhatAnotherReceiveKeeps(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	noise(t, top+"/a", 8<<20)
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	r := into(t, newPlace(t, pool, "place"))
	child := replicate(t, d, r, one, nil).Dataset.Name
	do(t, "zfs", "destroy", "-r", child)
	file := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(file, stream[:len(stream)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, "sh", "-c", "! zfs receive -s -u '"+child+"@x' < "+file)
	if got, err := r.Partials(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("listed: %+v, %v", got, err)
	}
	token := property(t, child, "receive_resume_token")
	for _, resume := range []string{"", token} {
		req := announce(one, nil)
		req.Resume = resume
		_, err := r.Receive(t.Context(), req, bytes.NewReader(stream))
		if !errors.Is(err, driver.ErrForeign) || !strings.Contains(err.Error(), child) {
			t.Errorf("Receive: %v, want ErrForeign", err)
		}
	}
	if token == "-" || property(t, child, "receive_resume_token") != token {
		t.Errorf("the token was %s", token)
	}
	do(t, "zfs", "receive", "-A", child)
	replicate(t, d, r, one, nil)
}
