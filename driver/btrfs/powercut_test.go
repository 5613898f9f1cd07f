package btrfs_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// TestPowerCut copies the disk right after each step, mounts the copy as after a power cut, and looks what is there.
func TestPowerCut(t *testing.T) {
	top := testhost.Btrfs(t, 256<<20)
	ds, d := dataset(t, top, "d"), btrfs.New()
	image := filepath.Join(filepath.Dir(top), "image")
	var disks []string
	cut := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		disk := filepath.Join(filepath.Dir(top), "disk"+string(rune('a'+len(disks))))
		if out, err := exec.Command("cp", "--sparse=always", image, disk).CombinedOutput(); err != nil {
			t.Fatalf("copy the disk: %v: %s", err, out)
		}
		disks = append(disks, disk)
	}
	if err := syncFS(top); err != nil {
		t.Fatal(err)
	}
	g, err := d.Prepare(t.Context(), requestOf(t, 1, ds))
	cut(err)
	snaps, err := driver.Take(t.Context(), g)
	cut(errors.Join(err, g.Close(t.Context())))
	cut(d.Seal(t.Context(), "frozen", snaps...))
	cut(d.Pin(t.Context(), snaps[0], "keep"))
	cut(d.Unpin(t.Context(), snaps[0], "keep"))
	cut(d.Unseal(t.Context(), snaps...))
	cut(d.Destroy(t.Context(), snaps...))
	if err := unix.Unmount(top, 0); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		step                 string
		snaps, records, pins int
		sealed               bool
	}{
		{"Prepare", 0, 1, 0, false},
		{"Take", 1, 1, 0, false},
		{"Seal", 1, 2, 0, true},
		{"Pin", 1, 2, 1, true},
		{"Unpin", 1, 2, 0, true},
		{"Unseal", 1, 1, 0, false},
		{"Destroy", 0, -1, 0, false}, // its records may be there or not
	} {
		t.Run(want.step, func(t *testing.T) {
			mountAt(t, disks[i], top, "loop")
			got := list(t, d, ds)
			records, err := filepath.Glob(filepath.Join(top, ".volsnap", "*", "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != want.snaps || want.records >= 0 && len(records) != want.records {
				t.Fatalf("%d snapshots, want %d; records %v, want %d", len(got), want.snaps, records, want.records)
			}
			checkAfterCut(t, got, snaps, want.sealed, want.pins)
			takeAndSeal(t, d, requestOf(t, 2, ds)) // the next run
			if err := d.Destroy(t.Context(), list(t, d, ds)...); err != nil && want.pins == 0 {
				t.Error(err)
			}
			if err := unix.Unmount(top, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func checkAfterCut(t *testing.T, got, snaps []driver.Snapshot, sealed bool, pins int) {
	t.Helper()
	for _, one := range got {
		if one.Sealed != sealed || one.Fault != "" || len(one.Pins) != pins || one.GUID != snaps[0].GUID {
			t.Errorf("%+v", one)
		}
	}
}
