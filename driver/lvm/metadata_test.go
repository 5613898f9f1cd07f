//go:build vmtest

package lvm_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// chunk is the size of a thin pool's blocks where nobody says otherwise, see lvmthin(7).
const chunk = 64 << 10

// A pool whose metadata is nearly full takes no set, before LVM refuses in the middle of one, and gives up those that it has.
func TestFullMetadata(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 900, metadata: 2})
	d := lvm.New()
	run(t, "lvcreate", "--config", lean, "-V", "512m", "--thinpool", st.pool, "-n", "wide", st.vg)
	ds := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/wide"}
	touch(t, st.device(ds), 512<<20, chunk)
	one := sealed(t, d, ds)[0]
	filler := func() error {
		_, err := try("lvcreate", "--config", lean, "--quiet", "-s", "-n", st.lv("filler"), ds.Name)
		return err
	}
	for n := 0; ; n++ {
		if n < 10 { // not yet
			must(t, filler())
			touch(t, st.device(ds), 512<<20, 126*chunk)
			continue
		}
		_, err := d.Prepare(t.Context(), requestFor(newSet(t), ds))
		if errors.Is(err, driver.ErrNoSpace) && n > 10 {
			t.Logf("%d snapshots of others; metadata is %s %% full: %v", n, field(t, st.vg+"/"+st.pool, "metadata_percent"), err)
			break
		}
		must(t, err)
		must(t, filler()) // what Prepare has room for, LVM makes
		touch(t, st.device(ds), 512<<20, 126*chunk)
	}
	if err := filler(); err == nil {
		t.Error("LVM makes a snapshot in a pool that is said to be too full")
	}
	must(t, d.Unseal(t.Context(), one))
	must(t, d.Destroy(t.Context(), one))
	if got := listed(t, d, ds); len(got) != 0 {
		t.Errorf("listed %+v", got)
	}
}

// touch writes a little into each chunk, or into every so many-th, of a device. What is written goes where no snapshot
// shares it, and the part of the metadata that says where that is, too.
func touch(t *testing.T, device string, size, step int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	must(t, err)
	for at := int64(0); at < size; at += step {
		_, err := f.WriteAt(make([]byte, 4096), at)
		must(t, err)
	}
	must(t, errors.Join(f.Sync(), f.Close()))
}

// The metadata area of a volume group holds names and tags of all snapshots. One that has no room left takes no set, before
// LVM comes to it in the middle of a set.
func TestFullMetadataArea(t *testing.T) {
	st := newPool(t, size{disk: 256, data: 100, metadata: 4}, "--metadatasize", "64k", "--dataalignment", "64k")
	d := lvm.New()
	ds := st.volume(t, "v", 16, "ext4")
	area := func(name string) string { return run(t, "vgs", "--noheadings", "--units", "b", "-o", name, st.vg) }
	ballast := []string{"vgchange", "--config", lean, "--quiet", st.vg}
	for i := range 60 {
		ballast = append(ballast, "--addtag", strconv.Itoa(100+i)+strings.Repeat("x", 900))
	}
	run(t, ballast...)
	for taken := 0; ; taken++ {
		g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds))
		if errors.Is(err, driver.ErrNoSpace) && taken > 2 {
			t.Logf("%d snapshots in %s bytes, of which %s are free: %v", taken, area("vg_mda_size"), area("vg_mda_free"), err)
			return
		}
		must(t, err)
		made, err := driver.Take(t.Context(), g)
		must(t, err)
		must(t, g.Close(t.Context()))
		must(t, d.Seal(t.Context(), "frozen", made...))
		must(t, d.Pin(t.Context(), made[0], "a pin has to have room, too"))
		if taken > 20 {
			t.Fatal("the area does not fill")
		}
	}
}
