//go:build vmtest

package lvm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

func TestOriginIsRenamedAndRemoved(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	d := lvm.New()
	bare := func(name string) driver.Dataset {
		run(t, "lvcreate", "--config", lean, "-V", "16m", "--thinpool", st.pool, "-n", name, st.vg)
		return driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/" + name}
	}
	ds := bare("with-a-dash")
	one := sealed(t, d, ds)[0]
	renamed := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/other"}
	run(t, "lvrename", ds.Name, renamed.Name)
	if got := listed(t, d, renamed); len(got) != 1 || got[0].GUID != one.GUID || got[0].Fault != "" {
		t.Errorf("renamed: %+v", got)
	}
	two := sealed(t, d, renamed)[0]
	run(t, "lvremove", "-y", renamed.Name)
	got := st.all(t, d)
	if len(got) != 2 || !got[0].Sealed || !got[1].Sealed || got[0].Fault+got[1].Fault != "" {
		t.Fatalf("removed: %+v", got)
	}
	successor := bare("with-a-dash")
	if got := listed(t, d, successor); len(got) != 0 {
		t.Errorf("of its successor: %+v", got)
	}
	clone := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/back"}
	must(t, d.Clone(t.Context(), two, clone))
	must(t, d.Destroy(t.Context(), one, two))
	if got := st.all(t, d); len(got) != 0 || !there(clone.Name) || !there(successor.Name) {
		t.Errorf("afterwards: %+v", got)
	}
}

// all are the snapshots of a group, whatever they are of.
func (s *storage) all(t *testing.T, d driver.Driver) []driver.Snapshot {
	t.Helper()
	return slices.DeleteFunc(listed(t, d), func(one driver.Snapshot) bool { return !strings.HasPrefix(one.Name, s.vg+"/") })
}

func TestGroupIsExportedMeanwhile(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	d := lvm.New()
	run(t, "lvcreate", "--config", lean, "-V", "16m", "--thinpool", st.pool, "-n", "v", st.vg)
	ds := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/v"}
	one := sealed(t, d, ds)[0]
	g, err := d.Prepare(t.Context(), requestFor(newSet(t), ds))
	must(t, err)
	run(t, "vgchange", "-an", st.vg)
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != one.GUID {
		t.Errorf("deactivated: %+v", got)
	}
	if _, err := d.Prepare(t.Context(), requestFor(newSet(t), ds)); err == nil {
		t.Error("deactivated: Prepare did not refuse, though nobody knows how full the pool is")
	}
	run(t, "vgexport", st.vg)
	if _, err := driver.Take(t.Context(), g); err == nil {
		t.Error("exported: Take said that all is well")
	}
	if got, err := d.Snapshots(t.Context(), ds); err == nil {
		t.Errorf("exported: listed %+v", got)
	}
	if err := d.Destroy(t.Context(), one); err == nil {
		t.Error("exported: Destroy said that it is gone")
	}
	if _, err := d.Snapshots(t.Context(), driver.Dataset{Kind: lvm.Kind, Name: "no-such-group/v"}); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("no such group: %v", err)
	}
	run(t, "vgimport", st.vg)
	run(t, "vgchange", "-ay", st.vg)
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != one.GUID || !got[0].Sealed {
		t.Errorf("imported: %+v", got)
	}
}

// A listing of a group that has lost a disk is an error: nothing may be destroyed on its strength.
func TestMissingDisk(t *testing.T) {
	st := newPool(t, size{disk: 256, data: 64, metadata: 4})
	d := lvm.New()
	run(t, "lvcreate", "--config", lean, "-V", "16m", "--thinpool", st.pool, "-n", "v", st.vg)
	ds := driver.Dataset{Kind: lvm.Kind, Name: st.vg + "/v"}
	one := sealed(t, d, ds)[0]
	second := filepath.Join(t.TempDir(), "second disk")
	must(t, os.WriteFile(second, nil, 0o600))
	must(t, os.Truncate(second, 256<<20))
	loop := run(t, "losetup", "--find", "--show", second)
	run(t, "vgextend", "--config", lean, st.vg, loop)
	run(t, "vgchange", "-an", st.vg)
	run(t, "losetup", "--detach", loop)
	awaitDetached(t, loop)
	got, err := d.Snapshots(t.Context(), ds)
	if err == nil {
		t.Errorf("listed %+v", got)
	}
	if err := d.Destroy(t.Context(), one); err == nil {
		t.Error("Destroy said that it is gone")
	}
	run(t, "vgreduce", "--config", lean, "--removemissing", st.vg)
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != one.GUID {
		t.Errorf("without the disk: %+v", got)
	}
}

// awaitDetached returns when a loop device is gone: one that somebody has open, as udev for a look at it, is detached only when
// it is closed (losetup(8)).
func awaitDetached(t *testing.T, loop string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		if _, err := os.Stat(filepath.Join("/sys/block", filepath.Base(loop), "loop/backing_file")); err != nil {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s is still there", loop)
}

// lvcreate is killed at many moments. Whatever it leaves is listed as left over and can be destroyed; the next set can be
// taken; and the origin is not left suspended.
func TestKilledLvcreate(t *testing.T) {
	st := newPool(t, size{disk: 1024, data: 256, metadata: 8})
	d := lvm.New()
	ds := st.volume(t, "killed", 16, "ext4")
	left := 0
	for i := range 12 {
		ctx := t.Context()
		g, err := d.Prepare(ctx, requestFor(newSet(t), ds))
		must(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = g.Take(ctx) // it fails or not
		}()
		wait := time.NewTimer(time.Duration(i) * 150 * time.Millisecond)
		<-wait.C
		killLVM(t)
		<-done
		device := strings.ReplaceAll(st.vg, "-", "--") + "-" + strings.ReplaceAll(filepath.Base(ds.Name), "-", "--")
		if strings.Contains(run(t, "dmsetup", "info", device), "SUSPENDED") {
			t.Errorf("kill %d left the origin suspended", i)
			run(t, "dmsetup", "resume", device)
		}
		for _, one := range listed(t, d, ds) {
			left++
			if one.Sealed || one.Fault != "" {
				t.Errorf("after kill %d: %+v", i, one)
			}
		}
		must(t, d.Destroy(ctx, listed(t, d, ds)...))
		made := sealed(t, d, ds)
		unmount, err := d.Mount(ctx, made[0], t.TempDir())
		must(t, err)
		must(t, unmount(ctx))
		must(t, d.Destroy(ctx, made...))
	}
	t.Logf("12 kills: %d left a snapshot", left)
}

// killLVM kills the children of this process that are LVM's shell.
func killLVM(t *testing.T) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a task that has ended has no children
		for _, pid := range strings.Fields(string(text)) {
			if name, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(name)) == "lvm" {
				_ = exec.Command("kill", "-KILL", pid).Run() // it may have ended
			}
		}
	}
}
