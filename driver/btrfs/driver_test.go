package btrfs_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/internal/testhost"
)

// storage is a Btrfs on a loop device, as the suite wants it.
type storage struct{ top string }

func (s storage) Driver() driver.Driver { return btrfs.New() }

func (s storage) Dataset(t testing.TB, name string) driver.Dataset {
	t.Helper()
	at := filepath.Join(s.top, "data sets", name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	subvolume(t, at)
	return driver.Dataset{Kind: btrfs.Kind, Name: at}
}

func subvolume(t testing.TB, at string) string {
	t.Helper()
	if err := dennwc.CreateSubVolume(at); err != nil {
		t.Fatal(err)
	}
	return at
}

func (s storage) Path(ds driver.Dataset, file string) string { return filepath.Join(ds.Name, file) }

func (s storage) Write(t testing.TB, ds driver.Dataset, file, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(ds.Name, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s storage) Read(t testing.TB, ds driver.Dataset, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(ds.Name, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// storeDir is where the driver keeps the snapshots of a dataset; it has at least one there, or an intent.
func (s storage) storeDir(t testing.TB, ds driver.Dataset) string {
	t.Helper()
	base := filepath.Base(ds.Name)
	dirs, err := os.ReadDir(filepath.Join(s.top, ".volsnap"))
	if err != nil {
		t.Fatal(err)
	}
	clean := strings.NewReplacer(" ", "_").Replace(base)
	for _, d := range dirs {
		if strings.HasPrefix(d.Name(), clean+"-") && len(d.Name()) == len(clean)+9 {
			return filepath.Join(s.top, ".volsnap", d.Name())
		}
	}
	t.Fatalf("no directory for %s", ds)
	return ""
}

func (s storage) Foreign(t testing.TB, ds driver.Dataset, name string) (driver.Snapshot, func() bool) {
	t.Helper()
	g, err := s.Driver().Prepare(t.Context(), driver.Request{ // makes the directory
		Set: "probe-20200101T000000.000Z", Of: 1, Items: []driver.Item{{Dataset: ds, Member: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(s.storeDir(t, ds), name)
	if err := errors.Join(dennwc.SnapshotSubVolume(ds.Name, at, true), g.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	out := driver.Snapshot{Dataset: ds, Name: at, GUID: uuidOf(t, at)}
	out.Set, _ = driver.ParseName(name)
	return out, func() bool {
		is, err := dennwc.IsSubVolume(at)
		return is && err == nil
	}
}

// uuidOf asks btrfs-progs, which share no code with the driver.
func uuidOf(t testing.TB, at string) string {
	t.Helper()
	for line := range strings.Lines(progs(t, "subvolume", "show", at)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == "UUID" {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no UUID of %s", at)
	return ""
}

func progs(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("btrfs", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("btrfs %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (s storage) Tamper(t testing.TB, snap driver.Snapshot) {
	t.Helper()
	progs(t, "property", "set", "-ts", snap.Name, "ro", "false")
}

func (s storage) CloneName(_ testing.TB, name string) driver.Dataset {
	return driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(s.top, name)}
}

func TestContract(t *testing.T) {
	drivertest.Run(t, storage{testhost.Btrfs(t, 1<<30)})
}

func TestStages(t *testing.T) {
	drivertest.RunStages(t, storage{testhost.Btrfs(t, 1<<30)})
}
