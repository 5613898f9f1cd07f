//go:build vmtest

package zfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

func mkdir(t testing.TB, parts ...string) string {
	t.Helper()
	at := filepath.Join(parts...)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

// mountAt mounts what source is until the test ends.
func mountAt(t testing.TB, source, at string, options ...string) string {
	t.Helper()
	do(t, append(append([]string{"mount"}, options...), source, mkdir(t, at))...)
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
	return at
}

// said is what was found, one line each.
func said(place driver.Place) string {
	var lines []string
	for _, f := range place.Findings {
		lines = append(lines, string(f.Level)+": "+f.What)
	}
	return strings.Join(lines, "\n")
}

// TestResolve: the ways in which Docker's volumes lie on ZFS.
func TestResolve(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	volumes := top + "/docker/volumes"
	all := create(t, pool+"/all", "-o", "mountpoint="+volumes)
	inAll := mkdir(t, volumes, "app_one", "_data")
	mkdir(t, volumes, "app_other", "_data")
	own := create(t, pool+"/own", "-o", "mountpoint="+volumes+"/app_own")
	inOwn := mkdir(t, volumes, "app_own", "_data")
	data := create(t, pool+"/da ta", "-o", "mountpoint="+volumes+"/app_data/_data")
	srv := create(t, pool+"/srv", "-o", "mountpoint=legacy")
	bindTo := mkdir(t, mountAt(t, srv.Name, t.TempDir(), "-t", "zfs"), "a b", "pg")
	bound := mountAt(t, bindTo, t.TempDir()+"/x y", "--bind")
	part := create(t, pool+"/part", "-o", "mountpoint=legacy") // of which only a directory is mounted
	hidden := mountAt(t, part.Name, t.TempDir(), "-t", "zfs")
	partBound := mountAt(t, mkdir(t, hidden, "deep", "er"), t.TempDir(), "--bind")
	do(t, "umount", hidden)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(inOwn, link); err != nil {
		t.Fatal(err)
	}
	write(t, inOwn, "f", "1")

	for _, tc := range []struct {
		name, path string
		ds         driver.Dataset
		rel, say   string
	}{
		{"one dataset for all", inAll, all, "app_one/_data", "note: " + inAll + " lies in the larger dataset " + all.Name + "; the snapshot also holds app_data, app_other"},
		{"one for each volume", inOwn, own, "_data", ""},
		{"a file in it, through a link", link + "/f", own, "_data/f", ""},
		{"one for each _data", volumes + "/app_data/_data", data, ".", ""},
		{"a directory of the host", bindTo, srv, "a b/pg", ""},
		{"bound elsewhere", bound, srv, "a b/pg", ""},
		{"of which no top is mounted", partBound, part, "deep/er", "cannot be seen"},
	} {
		got, err := zfs.New().Resolve(t.Context(), tc.path)
		if err != nil || got.Dataset != tc.ds || got.Path != tc.rel || got.Pool != pool {
			t.Errorf("%s: %s is %+v, %v", tc.name, tc.path, got, err)
		}
		if s := said(got); !strings.Contains(s, tc.say) || tc.say == "" && s != "" {
			t.Errorf("%s: %q, want %q", tc.name, s, tc.say)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	create(t, pool+"/a")
	do(t, "zfs", "snapshot", pool+"/a@x")
	for path, want := range map[string]error{
		"/proc/self": driver.ErrNotSupported, "/root": driver.ErrNotSupported, "relative": driver.ErrNotSupported, top + "/none": driver.ErrNotFound,
		top + "/a/.zfs/snapshot/x": driver.ErrNotSupported, top + "/a/.zfs": driver.ErrNotSupported,
	} {
		if got, err := zfs.New().Resolve(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("Resolve(%s): %+v, %v, want %v", path, got, err, want)
		}
	}
}

// TestFindings: what a snapshot of the place would lack.
func TestFindings(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	v := create(t, pool+"/v")
	create(t, pool+"/v/in")
	out := create(t, pool+"/out", "-o", "mountpoint="+top+"/v/sub/out")
	resolve := func(path string) string {
		t.Helper()
		got, err := zfs.New().Resolve(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return said(got)
	}
	if s, want := resolve(top+"/v"), "error: other datasets lie in it and would be empty in the snapshot: "+top+"/v/in, "+top+"/v/sub/out"; s != want {
		t.Errorf("%q, want %q", s, want)
	}
	do(t, "zfs", "unmount", out.Name)
	if s := resolve(top + "/v/sub"); !strings.Contains(s, "error: "+out.Name+" holds what belongs below") {
		t.Error(s)
	}
	if s := resolve(top + "/v/sub/out"); !strings.Contains(s, "error: "+out.Name+" holds what belongs at") {
		t.Error(s)
	}
	do(t, "zfs", "set", "canmount=noauto", out.Name)
	do(t, "zfs", "destroy", v.Name+"/in")
	if s := resolve(top + "/v"); s != "" {
		t.Error(s)
	}
	mountAt(t, "tmpfs", top+"/v/tmp", "-t", "tmpfs")
	if s, want := resolve(top+"/v"), "warning: other file systems are mounted in it and would not be in the snapshot: "+top+"/v/tmp"; s != want {
		t.Errorf("%q, want %q", s, want)
	}
}

// TestEncrypted: a snapshot needs no key, and what does says so.
func TestEncrypted(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	dir := t.TempDir()
	write(t, dir, "key", strings.Repeat("k", 32))
	create(t, pool+"/plain", "-o", "mountpoint="+top+"/v")
	ds := create(t, pool+"/enc", "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+dir+"/key", "-o", "mountpoint="+top+"/v/pg")
	write(t, top+"/v/pg", "f", "secret")
	d := zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	at := t.TempDir()
	unmount, err := d.Mount(t.Context(), s, at)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(at + "/f"); string(text) != "secret" {
		t.Error(string(text), err)
	}
	if err := unmount(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Resolve(t.Context(), top+"/v/pg"); err != nil || len(got.Findings) != 0 {
		t.Errorf("%+v, %v", got, err)
	}

	do(t, "zfs", "unmount", ds.Name)
	do(t, "zfs", "unload-key", ds.Name)
	locked := takeAndSeal(t, d, requestOf(t, 2, ds))[0]
	if _, err := d.Mount(t.Context(), locked, at); err == nil || !strings.Contains(err.Error(), "zfs load-key "+ds.Name) {
		t.Errorf("Mount: %v", err)
	}
	clone := driver.Dataset{Kind: zfs.Kind, Name: pool + "/clone"}
	t.Logf("Clone: %v", d.Clone(t.Context(), locked, clone))
	if exists(clone.Name) {
		do(t, "zfs", "destroy", clone.Name)
	}
	got, err := d.Resolve(t.Context(), top+"/v/pg") // the empty directory below
	if err != nil || !strings.Contains(said(got), "its encryption key is not loaded") || got.Findings[0].Level != driver.Error {
		t.Errorf("%+v, %v", got, err)
	}
	if err := errors.Join(d.Unseal(t.Context(), s, locked), d.Destroy(t.Context(), s, locked)); err != nil {
		t.Error(err)
	}
}
