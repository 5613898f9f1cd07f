package btrfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// fill writes until the file system has neither data nor metadata to give.
func fill(t testing.TB, top string) {
	t.Helper()
	dir := mkdir(t, top, "fill")
	for size := 16 << 20; size >= 512; size /= 4 {
		content := make([]byte, size)
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(dir, fmt.Sprint(size, "-", i)), content, 0o600)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := syncFS(top); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func syncFS(top string) error {
	f, err := os.Open(top)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// TestFullFileSystem: what cannot be done says so and changes nothing, and destroying still works.
func TestFullFileSystem(t *testing.T) {
	top := testhost.Btrfs(t, 128<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	touch(t, ds.Name, "f")
	var made []driver.Snapshot
	for i := range 20 {
		made = append(made, takeAndSeal(t, d, requestOf(t, i, ds))...)
	}
	fill(t, top)
	noSpace := func(what string, err error) {
		t.Helper()
		t.Logf("%s: %v", what, err)
		if err != nil && !errors.Is(err, driver.ErrNoSpace) {
			t.Errorf("%s: %v, want ErrNoSpace", what, err)
		}
	}
	full := 0
	for i := range 200 { // until nothing goes any more
		g, err := d.Prepare(t.Context(), requestOf(t, 100+i, ds))
		noSpace("Prepare", err)
		if err != nil {
			full++
			break
		}
		_, err = driver.Take(t.Context(), g)
		noSpace("Take", err)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			full++
			break
		}
	}
	if full == 0 {
		t.Error("the file system is not full")
	}
	noSpace("Pin", d.Pin(t.Context(), made[0], "keep"))
	if err := d.Unseal(t.Context(), made[1:]...); err != nil {
		t.Errorf("Unseal: %v", err)
	}
	for _, one := range list(t, d, ds) {
		if one.Fault != "" {
			t.Errorf("%s: %s", one.Name, one.Fault)
		}
	}
	space, err := d.Space(t.Context(), ds)
	if err != nil || space.FreeBytes > 64<<20 {
		t.Errorf("space: %+v, %v", space, err)
	}
	if err := d.Destroy(t.Context(), made[1:]...); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	for _, one := range made[1:] {
		if isSubvolume(one.Name) {
			t.Errorf("%s is still there", one.Name)
		}
	}
}

func TestQuotaIsNoSpace(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	progs(t, "quota", "enable", top)
	ds, d := dataset(t, top, "d"), btrfs.New()
	place, err := d.Resolve(t.Context(), ds.Name)
	if err != nil {
		t.Fatal(err)
	}
	if len(place.Findings) != 1 || place.Findings[0].Level != driver.Warning {
		t.Errorf("findings with quotas on: %+v", place.Findings)
	}
	takeAndSeal(t, d, requestOf(t, 1, ds))
	progs(t, "qgroup", "limit", "1", top)
	_, err = d.Prepare(t.Context(), requestOf(t, 2, ds))
	if !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("Prepare over quota: %v, want ErrNoSpace", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	one := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	if err := unix.Mount("", top, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if got := list(t, d, ds); len(got) != 1 || got[0].Fault != "" {
		t.Errorf("listed %+v", got)
	}
	place, err := d.Resolve(t.Context(), ds.Name)
	if err != nil || len(place.Findings) != 1 || place.Findings[0].Level != driver.Error ||
		!strings.Contains(place.Findings[0].Mend, "remount,rw") {
		t.Errorf("Resolve = %+v, %v", place, err)
	}
	if _, err := d.Prepare(t.Context(), requestOf(t, 2, ds)); err == nil {
		t.Error("Prepare did not refuse")
	}
	for what, err := range map[string]error{
		"Destroy": d.Destroy(t.Context(), one), "Pin": d.Pin(t.Context(), one, "x"),
		"Unseal": d.Unseal(t.Context(), one),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	if !isSubvolume(one.Name) {
		t.Error("it is gone")
	}
}
