//go:build vmtest

package zfs_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

func TestIntoWhatIsNoPlace(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	do(t, "zfs", "create", "-V", "8M", pool+"/volume")
	for name, mend := range map[string]string{
		pool + "/none": "zfs create -p -o canmount=off -o mountpoint=none " + pool + "/none", pool + "/volume": "not a file system",
		"nopool/x": "zfs create", "-F": "no name", pool + "@x": "no name", pool + "/" + strings.Repeat("x", 200): "no room", "": "no name",
	} {
		if r, err := zfs.Into(name); err == nil || !strings.Contains(err.Error(), mend) || errors.Is(err, driver.ErrNotFound) && mend != "no name" {
			t.Errorf("%q: %v, %v", name, r, err)
		}
	}
	r := into(t, newPlace(t, pool, "place"))
	do(t, "zfs", "destroy", r.Name())
	_, listErr := r.Snapshots(t.Context())
	_, partErr := r.Partials(t.Context())
	for what, err := range map[string]error{"Snapshots": listErr, "Partials": partErr} {
		if err == nil || !strings.Contains(err.Error(), "there is no such file system") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWhatOthersDoInAPlace: it stays, and is named.
func TestWhatOthersDoInAPlace(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a b"), zfs.New()
	sets := sealedSets(t, d, ds, top+"/a b", 4)
	r := into(t, newPlace(t, pool, "place"))
	refused := func(what string, one driver.Snapshot, base *driver.Snapshot, want error, names ...string) {
		t.Helper()
		before := everything(t, r.Name())
		_, err := r.Receive(t.Context(), announce(one, base), bytes.NewReader(send(t, d, driver.SendRequest{Snapshot: one, Base: base})))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		for _, name := range names {
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v does not name %s", what, err, name)
			}
		}
		if diff := cmp.Diff(before, everything(t, r.Name())); diff != "" && what != "changed" { // where the intent is
			t.Errorf("%s: the place has changed:\n%s", what, diff)
		}
	}
	first := replicate(t, d, r, sets[0], nil)
	in := first.Dataset.Name

	// A kill between the arrival and the record: the record of the file system stands for it.
	do(t, "zfs", "inherit", "volsnap:replica", first.Name)
	got := here(t, r)
	if len(got) != 1 || got[0].GUID != first.GUID || got[0].Received.After(first.Received) || got[0].Received.IsZero() {
		t.Errorf("without its own record: %+v", got)
	}
	second := replicate(t, d, r, sets[1], &sets[0])
	if all := here(t, r); len(all) != 2 || !cmp.Equal(all[0], got[0]) || !cmp.Equal(all[1], second) {
		t.Errorf("after the next: %+v", all)
	}

	// The source has got another name.
	do(t, "zfs", "rename", ds.Name, pool+"/new name")
	ds.Name = pool + "/new name"
	sets = listed(t, d, ds)
	third := replicate(t, d, r, sets[2], &sets[1])
	if third.Dataset != first.Dataset {
		t.Errorf("after a rename it lies in %s, not in %s", third.Dataset, first.Dataset)
	}
	refused("all of it, under another name", sets[3], nil, driver.ErrDiverged, third.Name, string(sets[3].Set))

	do(t, "zfs", "snapshot", in+"@theirs")
	refused("a newer snapshot of others", sets[3], &sets[2], driver.ErrDiverged, in+"@theirs", string(sets[3].Set))
	do(t, "zfs", "destroy", in+"@theirs")

	do(t, "zfs", "set", "readonly=off", "canmount=noauto", "mountpoint="+top+"/replica", in)
	do(t, "zfs", "mount", in)
	write(t, top+"/replica", "theirs", "x")
	do(t, "zfs", "unmount", in)
	refused("changed", sets[3], &sets[2], driver.ErrDiverged, in, string(sets[3].Set))
	if all := here(t, r); len(all) != 3 {
		t.Errorf("listed: %+v", all)
	}

	// The last replica goes, and what others have there stays.
	do(t, "zfs", "snapshot", in+"@theirs")
	if err := r.Destroy(t.Context(), here(t, r)...); err != nil {
		t.Error(err)
	}
	if len(here(t, r)) != 0 || !exists(in+"@theirs") {
		t.Errorf("listed: %+v; theirs is there: %t", here(t, r), exists(in+"@theirs"))
	}
	do(t, "zfs", "rename", in, r.Name()+"/moved")
	first = replicate(t, d, r, sets[0], nil)
	if err := r.Destroy(t.Context(), first); err != nil || exists(first.Dataset.Name) {
		t.Errorf("%s is there: %v", first.Dataset.Name, err)
	}
	create(t, first.Dataset.Name)
	refused("in the way", sets[0], nil, driver.ErrForeign, first.Dataset.Name)
}

// TestNothingStays: what a full place has no room for, and what is damaged, is removed.
func TestNothingStays(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	noise(t, top+"/a", 12<<20)
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	r := into(t, newPlace(t, pool, "place"))
	do(t, "zfs", "set", "quota=4M", r.Name())
	stream := send(t, d, driver.SendRequest{Snapshot: one})
	refused := func(what string, stream []byte, want error) {
		t.Helper()
		if _, err := r.Receive(t.Context(), announce(one, nil), bytes.NewReader(stream)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if left := do(t, "zfs", "list", "-H", "-t", "all", "-o", "name", "-r", r.Name()); left != r.Name()+"\n" {
			t.Errorf("%s: left: %q", what, left)
		}
	}
	refused("no room", stream, driver.ErrNoSpace)
	do(t, "zfs", "set", "quota=none", r.Name())
	changed := func(at int) []byte {
		bad := bytes.Clone(stream)
		bad[at] ^= 0x55
		return bad
	}
	refused("another byte in a file", changed(len(stream)/2), driver.ErrBadStream)
	refused("a record of no kind", changed(312), driver.ErrBadStream)
	refused("another checksum at the end", changed(len(stream)-312+10), driver.ErrBadStream)
	replicate(t, d, r, one, nil)
}

// TestEncrypted: a dataset is sent and received as it is on disk, by hosts without its key.
func TestEncryptedReplicas(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	key := top + "/key"
	if err := os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	ds, d := create(t, pool+"/secret", "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+key), zfs.New()
	noise(t, top+"/secret", 8<<20)
	sets := sealedSets(t, d, ds, top+"/secret", 2)
	do(t, "zfs", "unmount", ds.Name)
	do(t, "zfs", "unload-key", ds.Name)
	r := into(t, newPlace(t, pool, "place"))
	var out bytes.Buffer
	if err := d.Send(t.Context(), driver.SendRequest{Snapshot: sets[0]}, &out); !errors.Is(err, driver.ErrNotSupported) || out.Len() > 0 {
		t.Errorf("to a pool without encryption: %v, %d bytes", err, out.Len())
	}
	req, whole := announce(sets[0], nil), driver.SendRequest{Snapshot: sets[0], Formats: r.Formats()}
	stream := send(t, d, whole)
	if _, err := r.Receive(t.Context(), req, bytes.NewReader(stream[:len(stream)*3/4])); !errors.Is(err, driver.ErrBadStream) {
		t.Errorf("three quarters: %v", err)
	}
	req.Resume = kept(t, r).Token
	whole.Resume = req.Resume
	first, err := r.Receive(t.Context(), req, bytes.NewReader(send(t, d, whole)))
	if err != nil {
		t.Fatal(err)
	}
	second := replicate(t, d, r, sets[1], &sets[0])
	if got := property(t, second.Dataset.Name, "keystatus"); got != "unavailable" {
		t.Errorf("the key is %s", got)
	}
	if _, err := r.Mount(t.Context(), first, t.TempDir()); err == nil || !strings.Contains(err.Error(), "key is not loaded") {
		t.Errorf("Mount: %v", err)
	}
	do(t, "zfs", "load-key", "-L", "file://"+key, second.Dataset.Name)
	dir := t.TempDir()
	unmount, err := r.Mount(t.Context(), second, dir)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(dir + "/f"); err != nil || string(text) != "xx" {
		t.Errorf("%q, %v", text, err)
	}
	if err := unmount(t.Context()); err != nil {
		t.Error(err)
	}

	// A place that is encrypted itself holds plain datasets too.
	do(t, "zfs", "load-key", ds.Name)
	plain := create(t, pool+"/plain")
	secret := into(t, newPlace(t, ds.Name, "place"))
	got := replicate(t, d, secret, sealedSets(t, d, plain, top+"/plain", 1)[0], nil)
	if at := property(t, got.Dataset.Name, "encryptionroot"); at != ds.Name {
		t.Errorf("the replica is encrypted by %s", at)
	}
}
