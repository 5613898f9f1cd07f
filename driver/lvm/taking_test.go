//go:build vmtest

package lvm_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

func newSet(t testing.TB) driver.SetID {
	t.Helper()
	id, err := driver.NewSetID("own", time.Unix(1_800_000_000+counter.Add(1), 0))
	must(t, err)
	return id
}

func requestFor(set driver.SetID, ds ...driver.Dataset) driver.Request {
	req := driver.Request{Set: set, Of: len(ds)}
	for i, one := range ds {
		req.Items = append(req.Items, driver.Item{Dataset: one, Member: i + 1, Volumes: []driver.Volume{{Name: "v", Path: "."}}})
	}
	return req
}

// sealed is a whole set.
func sealed(t testing.TB, d driver.Driver, ds ...driver.Dataset) []driver.Snapshot {
	t.Helper()
	g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds...))
	must(t, err)
	made, err := driver.Take(t.Context(), g)
	must(t, err)
	must(t, g.Close(t.Context()))
	must(t, d.Seal(t.Context(), "frozen", made...))
	return made
}

func listed(t testing.TB, d driver.Driver, ds ...driver.Dataset) []driver.Snapshot {
	t.Helper()
	got, err := d.Snapshots(t.Context(), ds...)
	must(t, err)
	return got
}

// A file system that is written to without pause is clean in its snapshot: nothing is to be recovered, nothing to repair.
func TestSnapshotUnderLoadIsClean(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			st := newPool(t, size{disk: 2048, data: 1024, metadata: 16})
			d := lvm.New()
			ds := st.volume(t, "loaded", 320, kind)
			stop := make(chan struct{})
			started := make(chan struct{})
			var g errgroup.Group
			g.Go(func() error { return load(st.Path(ds, "."), started, stop) })
			<-started
			made := sealed(t, d, ds)
			close(stop)
			must(t, g.Wait())

			dir := t.TempDir()
			unmount, err := d.Mount(t.Context(), made[0], dir)
			must(t, err)
			files, err := os.ReadDir(dir)
			must(t, err)
			for _, f := range files {
				if !f.Type().IsRegular() {
					continue
				}
				if _, err := os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
					t.Error(err)
				}
			}
			if len(files) < 20 {
				t.Errorf("%d files", len(files))
			}
			if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err == nil {
				t.Error("the mount is writable")
			}
			must(t, unmount(t.Context()))
			if field(t, made[0].Name, "lv_active") != "" {
				t.Error("it is still active")
			}
			if kind == "xfs" {
				checkXFS(t, st, made[0])
			} else {
				checkExt4(t, made[0])
			}
		})
	}
}

// checkExt4 is that the journal is empty.
func checkExt4(t *testing.T, s driver.Snapshot) {
	t.Helper()
	run(t, "lvchange", "-ay", "-K", s.Name)
	if text := run(t, "dumpe2fs", "-h", "/dev/"+s.Name); strings.Contains(text, "needs_recovery") {
		t.Error("its journal is to be recovered")
	}
	run(t, "e2fsck", "-fn", "/dev/"+s.Name)
	run(t, "lvchange", "-an", s.Name)
}

// checkXFS is that a clone is without a fault once its log was replayed, which XFS leaves to do on purpose.
func checkXFS(t *testing.T, st *storage, s driver.Snapshot) {
	t.Helper()
	to := st.CloneName(t, "replayed")
	must(t, lvm.New().Clone(t.Context(), s, to))
	dir := t.TempDir()
	run(t, "mount", "-t", "xfs", "-o", "nouuid", "/dev/"+to.Name, dir)
	run(t, "umount", dir)
	run(t, "xfs_repair", "-n", "/dev/"+to.Name)
}

// load writes, syncs and removes files until it is stopped.
func load(dir string, started, stop chan struct{}) error {
	if err := os.WriteFile(filepath.Join(dir, "first"), []byte("1"), 0o600); err != nil {
		return err
	}
	for i := 0; ; i++ {
		name := filepath.Join(dir, fmt.Sprintf("f%d", i%50))
		if err := errors.Join(os.WriteFile(name, make([]byte, 20000), 0o600), os.Rename(name, name+"r")); err != nil {
			return err
		}
		if i == 20 {
			close(started)
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

func TestTwentyVolumes(t *testing.T) {
	st := newPool(t, size{disk: 2048, data: 1024, metadata: 16})
	d := lvm.New()
	var ds []driver.Dataset
	for i := range 20 {
		lv := st.lv(fmt.Sprint("raw ", i)) // no file system: what is measured is LVM
		run(t, "lvcreate", "--config", lean, "-V", "16m", "--thinpool", st.pool, "-n", lv, st.vg)
		ds = append(ds, driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/" + lv})
	}
	for _, n := range []int{1, 3, 20} {
		g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds[:n]...))
		must(t, err)
		begin := time.Now()
		made, err := driver.Take(t.Context(), g)
		took := time.Since(begin)
		must(t, err)
		if len(made) != n {
			t.Fatalf("%d snapshots", len(made))
		}
		sealing := time.Now()
		must(t, d.Seal(t.Context(), "frozen", made...))
		t.Logf("%d volumes: Take %s, Seal %s", n, took, time.Since(sealing))
	}
	begin := time.Now()
	must(t, d.Destroy(t.Context(), listed(t, d, ds...)...))
	t.Logf("Destroy of 24: %s", time.Since(begin))
}
