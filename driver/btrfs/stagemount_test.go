package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// A subvolume in which another file system is mounted is neither swapped nor discarded: the mount would go with it.
func TestStageWithAMountInIt(t *testing.T) {
	s := storage{testhost.Btrfs(t, 256<<20)}
	d := btrfs.New()
	ds := s.Dataset(t, "with a disk")
	id, err := driver.NewSetID("app", time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	one := takeAndSeal(t, d, driver.Request{Set: id, Of: 1, Items: []driver.Item{{Dataset: ds, Member: 1}}})[0]
	st, err := d.Stage(t.Context(), one, "a")
	if err != nil {
		t.Fatal(err)
	}
	was, err := d.Identity(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	mounted := func(in string, busy func() error) {
		t.Helper()
		disk := filepath.Join(in, "disk")
		if err := errors.Join(os.MkdirAll(disk, 0o755), unix.Mount("none", disk, "tmpfs", 0, ""), os.WriteFile(filepath.Join(disk, "f"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := busy(); !errors.Is(err, driver.ErrBusy) {
			t.Errorf("%v, want ErrBusy", err)
		}
		if _, err := os.Stat(filepath.Join(disk, "f")); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(disk, 0); err != nil {
			t.Fatal(err)
		}
	}
	swap := func() error { return d.Swap(t.Context(), ds, st.Dataset, st.GUID) }
	mounted(ds.Name, swap)
	if err := swap(); err != nil {
		t.Fatal(err)
	}
	discard := func() error {
		return d.Discard(t.Context(), driver.Stage{Dataset: st.Dataset, GUID: was}, nil)
	}
	mounted(st.Dataset.Name, discard)
	if err := discard(); err != nil {
		t.Error(err)
	}
}
