//go:build vmtest

package lvm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// What a killed lvcreate leaves when it has sent the first of its two messages to the kernel, made by hand: the kernel's pool is a
// transaction behind, and has the snapshot that the metadata of the group is about to have made.
func TestHalfMadeSnapshot(t *testing.T) {
	for _, by := range []string{"destroy", "prepare"} {
		t.Run(by, func(t *testing.T) {
			st := newPool(t, size{disk: 512, data: 128, metadata: 8})
			d := lvm.New()
			ds, other := st.volume(t, "half", 16, "ext4"), st.volume(t, "other", 16, "ext4")
			good := sealed(t, d, ds)[0]
			g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds))
			must(t, err)
			made, err := driver.Take(t.Context(), g)
			must(t, err)
			halve(t, st, made[0])
			if _, err := try("lvcreate", "-V", "16m", "--thinpool", st.pool, "-n", st.lv("stuck"), st.vg); err == nil {
				t.Fatal("the pool is not stuck: this test proves nothing")
			}
			if by == "destroy" {
				must(t, d.Destroy(t.Context(), made...))
				if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != good.GUID {
					t.Errorf("afterwards there is %+v", got)
				}
			}
			sealed(t, d, other)
			run(t, "lvcreate", "-V", "16m", "--thinpool", st.pool, "-n", st.lv("free"), st.vg)
			must(t, d.Destroy(t.Context(), made...))
			sealed(t, d, ds)
		})
	}
}

// A power cut may leave a message in LVM's metadata that the kernel has had. Then LVM forgets to delete what is removed next.
func TestRemovedBesideAnOldMessage(t *testing.T) {
	st := newPool(t, size{disk: 512, data: 128, metadata: 8})
	d := lvm.New()
	ds, other := st.volume(t, "one", 16, "ext4"), st.volume(t, "two", 16, "ext4")
	g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds, other))
	must(t, err)
	made, err := driver.Take(t.Context(), g)
	must(t, err)
	owe(t, st, made[1], reachedBy(t, st))
	must(t, d.Destroy(t.Context(), made...))
	sealed(t, d, ds, other)
	run(t, "lvcreate", "-V", "16m", "--thinpool", st.pool, "-n", st.lv("free"), st.vg)
}

// halve takes the last step of the making of a snapshot back.
func halve(t *testing.T, st *storage, s driver.Snapshot) {
	t.Helper()
	reached := reachedBy(t, st)
	run(t, "dmsetup", "message", st.poolDevice(), "0", fmt.Sprintf("set_transaction_id %d %d", reached, reached-1))
	owe(t, st, s, reached)
}

func (s *storage) poolDevice() string {
	return strings.ReplaceAll(s.vg, "-", "--") + "-" + strings.ReplaceAll(filepath.Base(s.pool), "-", "--") + "-tpool"
}

// reachedBy is the pool's transaction in the kernel.
func reachedBy(t *testing.T, st *storage) int {
	t.Helper()
	reached, err := strconv.Atoi(strings.Fields(run(t, "dmsetup", "status", st.poolDevice()))[3])
	must(t, err)
	return reached
}

// owe lets LVM believe that it has not told the kernel of a snapshot, which is that of a transaction.
func owe(t *testing.T, st *storage, s driver.Snapshot, reached int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "metadata")
	run(t, "vgcfgbackup", "--file", file, st.vg)
	text, err := os.ReadFile(file)
	must(t, err)
	line := fmt.Sprintf("transaction_id = %d\n", reached)
	if strings.Count(string(text), line) != 1 {
		t.Fatalf("%q is not there once in:\n%s", line, text)
	}
	message := fmt.Sprintf("%smessage1 {\ncreate = %q\n}\n", line, filepath.Base(s.Name))
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), line, message, 1)), 0o600))
	run(t, "vgcfgrestore", "--force", "--yes", "--file", file, st.vg)
}

// An origin that was left suspended in the making of a snapshot is resumed; one that somebody suspended is not.
func TestRelease(t *testing.T) {
	st := newPool(t, size{disk: 512, data: 128, metadata: 8})
	d := lvm.New()
	ds, other := st.volume(t, "left suspended", 16, "ext4"), st.volume(t, "others'", 16, "ext4")
	sealed(t, d, other)
	g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds))
	must(t, err)
	_, err = driver.Take(t.Context(), g)
	must(t, err)
	if got, err := d.Release(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("with nothing suspended: %q, %v", got, err)
	}
	for _, one := range []driver.Dataset{ds, other} {
		run(t, "dmsetup", "suspend", deviceOf(one))
		t.Cleanup(func() { run(t, "dmsetup", "resume", deviceOf(one)) })
	}
	got, err := d.Release(t.Context())
	if err != nil || len(got) != 1 || got[0] != ds.Name {
		t.Errorf("released %q, %v", got, err)
	}
	for one, want := range map[driver.Dataset]bool{ds: false, other: true} {
		if is := strings.Contains(run(t, "dmsetup", "info", deviceOf(one)), "SUSPENDED"); is != want {
			t.Errorf("%s is suspended: %t", one, is)
		}
	}
	run(t, "dmsetup", "resume", deviceOf(other))
	st.Write(t, ds, "g", "it can be written to")
}

func deviceOf(ds driver.Dataset) string {
	vg, lv, _ := strings.Cut(ds.Name, "/")
	return strings.ReplaceAll(vg, "-", "--") + "-" + strings.ReplaceAll(lv, "-", "--")
}
