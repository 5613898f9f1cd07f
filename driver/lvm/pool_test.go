//go:build vmtest

package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// storage is a volume group with a thin pool on a loop device.
type storage struct {
	vg, pool string
	top      string // volumes are mounted below it
	loop     string
}

// counter makes names of volumes and groups that no other test has.
var counter atomic.Int64

// lean is configuration that makes the tests' own commands faster.
const lean = "backup{archive=0 backup=0} activation{monitoring=0}"

// size of a thin pool, in MiB, and of its blocks, in KiB.
type size struct {
	disk, data, metadata int
	chunk                int // 64 unless it is set
}

// newPool takes further options of vgcreate.
func newPool(t testing.TB, s size, options ...string) *storage {
	t.Helper()
	st := &storage{vg: fmt.Sprintf("vs-%d-%d", os.Getpid(), counter.Add(1)), pool: "thin-pool", top: t.TempDir()}
	disk := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(disk, nil, 0o600))
	must(t, os.Truncate(disk, int64(s.disk)<<20))
	st.loop = run(t, "losetup", "--find", "--show", disk)
	t.Cleanup(func() { run(t, "losetup", "--detach", st.loop) })
	run(t, append([]string{"vgcreate", "--quiet", "--config", lean, st.vg, st.loop}, options...)...)
	t.Cleanup(func() { run(t, "vgremove", "--quiet", "-ff", "-y", "--config", lean, st.vg) })
	run(t, "lvcreate", "--config", lean, "--type", "thin-pool", "-L", mib(s.data), "--poolmetadatasize", mib(s.metadata),
		"--chunksize", strconv.Itoa(max(64, s.chunk))+"k", "-n", st.pool, st.vg)
	return st
}

func mib(n int) string { return strconv.Itoa(n) + "m" }

// run runs a program, and fails the test if that fails.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := try(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%q: %w: %s", argv, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *storage) Driver() driver.Driver { return lvm.New() }

var strange = regexp.MustCompile(`[^A-Za-z0-9_+.-]`)

// lv is a free name that resembles one that LVM would refuse.
func (s *storage) lv(name string) string {
	return strange.ReplaceAllString(name, "_") + "-" + strconv.FormatInt(counter.Add(1), 10)
}

// Dataset is gone with the test, and its snapshots with it: each command of LVM takes longer with every volume that there is.
func (s *storage) Dataset(t testing.TB, name string) driver.Dataset {
	t.Helper()
	var ds driver.Dataset
	t.Cleanup(func() { // after it is unmounted
		lv := filepath.Base(ds.Name)
		s.remove(t, fmt.Sprintf("lv_name=%q || origin=%q", lv, lv))
	})
	ds = s.volume(t, name, 16, "ext4")
	return ds
}

func (s *storage) remove(t testing.TB, which string) {
	t.Helper()
	run(t, "lvremove", "--quiet", "--config", lean, "-y", "--select", which, s.vg)
}

// volume is a thin volume of so many MiB with a file system, mounted.
func (s *storage) volume(t testing.TB, name string, mbytes int, kind string) driver.Dataset {
	t.Helper()
	lv := s.lv(name)
	run(t, "lvcreate", "--config", lean, "-V", mib(mbytes), "--thinpool", s.pool, "-n", lv, s.vg)
	ds := driver.Dataset{Kind: lvm.Kind, Name: s.vg + "/" + lv}
	format := []string{"mkfs." + kind, "-q"}
	if kind == "ext4" {
		format = append(format, "-O", "has_journal", "-J", "size=4") // which it leaves away where there is little room
	}
	run(t, append(format, s.device(ds))...)
	s.mount(t, ds)
	return ds
}

func (s *storage) device(ds driver.Dataset) string { return "/dev/" + ds.Name }

func (s *storage) point(ds driver.Dataset) string {
	return filepath.Join(s.top, "mounted at", filepath.Base(ds.Name))
}

// mount mounts a volume, if that is not done, until the test ends.
func (s *storage) mount(t testing.TB, ds driver.Dataset) {
	t.Helper()
	at := s.point(ds)
	if _, err := os.Stat(at); err == nil {
		return
	}
	must(t, os.MkdirAll(at, 0o755))
	run(t, "mount", s.device(ds), at)
	t.Cleanup(func() {
		run(t, "umount", at)
		must(t, os.Remove(at))
	})
}

func (s *storage) Path(ds driver.Dataset, file string) string {
	return filepath.Join(s.point(ds), file)
}

func (s *storage) Write(t testing.TB, ds driver.Dataset, file, content string) {
	t.Helper()
	s.mount(t, ds)
	must(t, os.WriteFile(s.Path(ds, file), []byte(content), 0o600))
}

func (s *storage) Read(t testing.TB, ds driver.Dataset, file string) string {
	t.Helper()
	s.mount(t, ds)
	text, err := os.ReadFile(s.Path(ds, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// inPlace is where the driver keeps the snapshot of a set.
func (s *storage) inPlace(t testing.TB, ds driver.Dataset, name string) string {
	t.Helper()
	first, _, _ := strings.Cut(field(t, ds.Name, "lv_uuid"), "-")
	return s.vg + "/" + name + "." + first
}

func field(t testing.TB, lv, name string) string {
	t.Helper()
	return run(t, "lvs", "--noheadings", "-o", name, lv)
}

func (s *storage) Foreign(t testing.TB, ds driver.Dataset, name string) (driver.Snapshot, func() bool) {
	t.Helper()
	out := driver.Snapshot{Dataset: ds, Name: s.vg + "/" + name, Set: "x-20261121T020000.123Z"}
	if set, err := driver.ParseName(name); err == nil {
		out.Name, out.Set = s.inPlace(t, ds, name), set
	}
	if there(out.Name) { // of another test
		run(t, "lvremove", "--config", lean, "-y", out.Name)
	}
	run(t, "lvcreate", "--config", lean, "-s", "-pr", "-ky", "-n", filepath.Base(out.Name), ds.Name)
	out.GUID = field(t, out.Name, "lv_uuid")
	return out, func() bool { return there(out.Name) && field(t, out.Name, "lv_uuid") == out.GUID }
}

func there(lv string) bool {
	_, err := try("lvs", lv)
	return err == nil
}

func (s *storage) Tamper(t testing.TB, one driver.Snapshot) {
	t.Helper()
	run(t, "lvchange", "--config", lean, "-prw", one.Name)
}

func (s *storage) CloneName(t testing.TB, name string) driver.Dataset {
	t.Helper()
	ds := driver.Dataset{Kind: lvm.Kind, Name: s.vg + "/" + s.lv(name)}
	t.Cleanup(func() {
		if _, err := try("mountpoint", "-q", s.point(ds)); err == nil {
			run(t, "umount", s.point(ds))
			must(t, os.Remove(s.point(ds)))
		}
		lv := filepath.Base(ds.Name)
		s.remove(t, fmt.Sprintf("lv_name=%q || origin=%q", lv, lv))
	})
	return ds
}
