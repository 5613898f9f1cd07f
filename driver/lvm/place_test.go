//go:build vmtest

package lvm_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

func worst(findings []driver.Finding, about string) driver.Level {
	for _, f := range findings {
		if strings.Contains(f.What, about) {
			return f.Level
		}
	}
	return ""
}

func TestResolve(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	d := lvm.New()
	ds := st.Dataset(t, "resolve")
	in := st.Path(ds, "a b/_data")
	must(t, os.MkdirAll(in, 0o755))
	place, err := d.Resolve(t.Context(), in)
	must(t, err)
	if place.Dataset != ds || place.Path != "a b/_data" || place.Pool != st.vg+"/"+st.pool || worst(place.Findings, "a b/_data") != driver.Note {
		t.Errorf("a directory: %+v", place)
	}
	bound := filepath.Join(t.TempDir(), "bound \\ here")
	must(t, os.Mkdir(bound, 0o755))
	run(t, "mount", "--bind", in, bound)
	defer run(t, "umount", bound)
	if place, err = d.Resolve(t.Context(), bound); err != nil || place.Dataset != ds || place.Path != "a b/_data" {
		t.Errorf("bound: %+v, %v", place, err)
	}
	run(t, "mount", "-t", "tmpfs", "none", in)
	place, err = d.Resolve(t.Context(), st.Path(ds, "."))
	run(t, "umount", in)
	if err != nil || worst(place.Findings, "another file system") != driver.Error {
		t.Errorf("a mount below: %+v, %v", place, err)
	}
	for _, file := range []string{"/proc/self", "/", "relative", filepath.Join(in, "none")} {
		place, err := d.Resolve(t.Context(), file)
		if err == nil {
			t.Errorf("%s: %+v", file, place)
		}
	}
}

func TestThickVolumeIsRefused(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	d := lvm.New()
	run(t, "lvcreate", "--config", lean, "-y", "-L", "16m", "-n", "thick-one", st.vg)
	ds := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/thick-one"}
	run(t, "mkfs.ext4", "-q", st.device(ds))
	st.mount(t, ds)
	place, err := d.Resolve(t.Context(), st.Path(ds, "."))
	must(t, err)
	if place.Dataset != ds || worst(place.Findings, "not a thin one") != driver.Error || place.Findings[0].Mend == "" {
		t.Errorf("%+v", place)
	}
	if _, err := d.Prepare(t.Context(), requestFor(newSet(t), ds)); !errors.Is(err, driver.ErrNotSupported) {
		t.Errorf("Prepare: %v", err)
	}
	if _, err := d.Space(t.Context(), ds); !errors.Is(err, driver.ErrNotSupported) {
		t.Errorf("Space: %v", err)
	}
}

// What lies on a logical volume, but is none, is refused with the reason.
func TestStackedVolumeIsRefused(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	run(t, "lvcreate", "--config", lean, "-V", "32m", "--thinpool", st.pool, "-n", "below", st.vg)
	name := st.vg + "-crypt"
	run(t, "dmsetup", "create", name, "--uuid", "CRYPT-LUKS2-x-"+st.vg, "--table", "0 65536 linear /dev/"+st.vg+"/below 0")
	defer run(t, "dmsetup", "remove", "--retry", name)
	run(t, "mkfs.ext4", "-q", "/dev/mapper/"+name)
	at := t.TempDir()
	run(t, "mount", "/dev/mapper/"+name, at)
	defer run(t, "umount", at)
	_, err := lvm.New().Resolve(t.Context(), at)
	if !errors.Is(err, driver.ErrNotSupported) || !strings.Contains(err.Error(), "below") {
		t.Errorf("%v", err)
	}
}

// What of a file system lies on another device is in no snapshot.
func TestJournalElsewhereIsRefused(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 700, metadata: 4})
	run(t, "lvcreate", "--config", lean, "-V", "64m", "--thinpool", st.pool, "-n", "journal", st.vg)
	journal := "/dev/" + st.vg + "/journal"
	for kind, prepare := range map[string]func(device string) (mount []string){
		"ext4": func(device string) []string {
			run(t, "mke2fs", "-q", "-O", "journal_dev", "-b", "4096", journal)
			run(t, "mkfs.ext4", "-q", "-b", "4096", "-J", "device="+journal, device)
			return nil
		},
		"xfs": func(device string) []string {
			run(t, "mkfs.xfs", "-q", "-f", "-l", "logdev="+journal, device)
			return []string{"-o", "logdev=" + journal}
		},
	} {
		run(t, "lvcreate", "--config", lean, "-V", "400m", "--thinpool", st.pool, "-n", kind, st.vg)
		device, at := "/dev/"+st.vg+"/"+kind, t.TempDir()
		run(t, slices.Concat([]string{"mount"}, prepare(device), []string{device, at})...)
		place, err := lvm.New().Resolve(t.Context(), at)
		run(t, "umount", at)
		if err != nil || worst(place.Findings, "lies on another device") != driver.Error {
			t.Errorf("%s: %+v, %v", kind, place.Findings, err)
		}
	}
}

// A pool without room takes no set, and gives up those that it has.
func TestFullPool(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 64, metadata: 4})
	d := lvm.New()
	run(t, "lvchange", "--errorwhenfull", "y", st.vg+"/"+st.pool)
	ds := st.volume(t, "filled", 200, "ext4")
	one := sealed(t, d, ds)[0]
	_, _ = try("dd", "if=/dev/urandom", "of="+st.Path(ds, "big"), "bs=1M", "count=100", "oflag=direct") // until it is full
	space, err := d.Space(t.Context(), ds)
	must(t, err)
	if space.FreeBytes > space.TotalBytes/20 {
		t.Errorf("space: %+v", space)
	}
	if _, err := d.Prepare(t.Context(), requestFor(newSet(t), ds)); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("Prepare: %v", err)
	}
	place, err := d.Resolve(t.Context(), st.Path(ds, "."))
	must(t, err)
	if worst(place.Findings, "% full, more than") != driver.Error {
		t.Errorf("findings: %+v", place.Findings)
	}
	must(t, d.Pin(t.Context(), one, "before"))
	must(t, d.Unpin(t.Context(), one, "before"))
	must(t, d.Unseal(t.Context(), one))
	must(t, d.Destroy(t.Context(), one))
	if got := listed(t, d, ds); len(got) != 0 {
		t.Errorf("listed %+v", got)
	}
}
