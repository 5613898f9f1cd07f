//go:build vmtest

package zfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

var pools atomic.Int64

// newPool makes a pool on a sparse file, which goes with the test. It is mounted at the directory that is returned.
func newPool(t testing.TB, size int64) (name, top string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	name, top = fmt.Sprintf("vt%d-%d", os.Getpid(), pools.Add(1)), filepath.Join(dir, "top")
	t.Cleanup(func() { destroyPool(t, name) })
	do(t, "zpool", "create", "-O", "mountpoint="+top, name, file)
	return name, top
}

// destroyPool tries again while the pool is busy: the kernel may hold it for a moment after its last mount went.
func destroyPool(t testing.TB, name string) {
	t.Helper()
	for try := 0; ; try++ {
		out, err := exec.Command("zpool", "destroy", "-f", name).CombinedOutput()
		switch {
		case err == nil || strings.Contains(string(out), "no such pool"):
			return
		case try == 20 || !strings.Contains(string(out), "is busy"):
			mounts, _ := exec.Command("grep", "-s", name, "/proc/self/mountinfo").Output()
			t.Errorf("zpool destroy: %v: %s%s", err, out, mounts)
			return
		}
		t.Logf("%s is busy", name)
		time.Sleep(200 * time.Millisecond)
	}
}

// do runs a command that has to succeed.
func do(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// create makes a file system.
func create(t testing.TB, name string, options ...string) driver.Dataset {
	t.Helper()
	do(t, append(append([]string{"zfs", "create"}, options...), name)...)
	return driver.Dataset{Kind: zfs.Kind, Name: name}
}

// property is the value of a property of a dataset or snapshot.
func property(t testing.TB, name, prop string) string {
	t.Helper()
	return strings.TrimSuffix(do(t, "zfs", "get", "-Hp", "-o", "value", prop, name), "\n")
}

func exists(name string) bool { return exec.Command("zfs", "list", "-t", "all", name).Run() == nil }

func write(t testing.TB, dir, file, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// requestOf is for the nth set of these datasets.
func requestOf(t testing.TB, n int, ds ...driver.Dataset) driver.Request {
	t.Helper()
	set, err := driver.NewSetID("ccn", time.Date(2026, 11, 21, 2, 0, n, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	req := driver.Request{Set: set, Of: len(ds)}
	for i, one := range ds {
		req.Items = append(req.Items, driver.Item{Dataset: one, Member: i + 1, Volumes: []driver.Volume{{Name: "v", Path: "."}}})
	}
	return req
}

func take(t testing.TB, d driver.Driver, req driver.Request) []driver.Snapshot {
	t.Helper()
	g, err := d.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	made, err := driver.Take(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return made
}

func takeAndSeal(t testing.TB, d driver.Driver, req driver.Request) []driver.Snapshot {
	t.Helper()
	made := take(t, d, req)
	if err := d.Seal(t.Context(), "atomic", made...); err != nil {
		t.Fatal(err)
	}
	return made
}

func listed(t testing.TB, d driver.Driver, ds ...driver.Dataset) []driver.Snapshot {
	t.Helper()
	got, err := d.Snapshots(t.Context(), ds...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
