//go:build vmtest

package zfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/driver/zfs"
)

// storage is a pool, as the suite wants it.
type storage struct{ pool, top string }

func (s storage) Driver() driver.Driver { return zfs.New() }

// Dataset puts "_" for what the name of a dataset cannot have.
func (s storage) Dataset(t testing.TB, name string) driver.Dataset {
	t.Helper()
	can := strings.Map(func(r rune) rune {
		if r < 0x80 && (strings.ContainsRune("_.:- ", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, name)
	return create(t, s.pool+"/data sets/"+can, "-p")
}

func (s storage) Path(ds driver.Dataset, file string) string {
	return filepath.Join(s.top, strings.TrimPrefix(ds.Name, s.pool), file)
}

// mounted mounts a clone at its first use.
func (s storage) mounted(t testing.TB, ds driver.Dataset) {
	t.Helper()
	if property(t, ds.Name, "mounted") == "no" {
		do(t, "zfs", "mount", ds.Name)
	}
}

func (s storage) Write(t testing.TB, ds driver.Dataset, file, content string) {
	t.Helper()
	s.mounted(t, ds)
	write(t, s.Path(ds, "."), file, content)
}

func (s storage) Read(t testing.TB, ds driver.Dataset, file string) string {
	t.Helper()
	s.mounted(t, ds)
	text, err := os.ReadFile(s.Path(ds, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func (s storage) Foreign(t testing.TB, ds driver.Dataset, name string) (driver.Snapshot, func() bool) {
	t.Helper()
	at := ds.Name + "@" + name
	do(t, "zfs", "snapshot", at)
	out := driver.Snapshot{Dataset: ds, Name: at, GUID: property(t, at, "guid")}
	out.Set, _ = driver.ParseName(name)
	return out, func() bool { return exists(at) }
}

// Tamper puts another in its place, with the properties of the first.
func (s storage) Tamper(t testing.TB, snap driver.Snapshot) {
	t.Helper()
	args := []string{"zfs", "snapshot"}
	for _, prop := range []string{"volsnap:record", "volsnap:sealed"} {
		args = append(args, "-o", prop+"="+property(t, snap.Name, prop))
	}
	do(t, "zfs", "destroy", snap.Name)
	do(t, append(args, snap.Name)...)
}

func (s storage) CloneName(_ testing.TB, name string) driver.Dataset {
	return driver.Dataset{Kind: zfs.Kind, Name: s.pool + "/" + name}
}

func TestContract(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	drivertest.Run(t, storage{pool, top})
}
