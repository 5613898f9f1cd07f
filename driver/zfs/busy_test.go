//go:build vmtest

package zfs_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// staysBusy checks that a snapshot can neither be unsealed nor destroyed, and that the error names what keeps it.
func staysBusy(t *testing.T, d driver.Driver, s driver.Snapshot, names string) {
	t.Helper()
	for what, err := range map[string]error{"Unseal": d.Unseal(t.Context(), s), "Destroy": d.Destroy(t.Context(), s)} {
		if !errors.Is(err, driver.ErrBusy) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v, want ErrBusy that names %s", what, err, names)
		}
	}
	if got := listed(t, d, s.Dataset); len(got) == 0 || got[0].GUID != s.GUID || !got[0].Sealed {
		t.Errorf("afterwards %+v", got)
	}
}

func TestCloneKeepsItsSnapshot(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a b"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	to := driver.Dataset{Kind: zfs.Kind, Name: pool + "/the clone"}
	if err := d.Clone(t.Context(), s, to); err != nil {
		t.Fatal(err)
	}
	if got := property(t, to.Name, "canmount") + " " + property(t, to.Name, "mounted"); got != "noauto no" {
		t.Errorf("canmount and mounted are %s", got)
	}
	staysBusy(t, d, s, to.Name)
	for name, want := range map[string]error{
		pool + "/none/x": driver.ErrNotFound, "nopool/x": driver.ErrNotFound, "-R": driver.ErrNotFound, ds.Name: driver.ErrExists,
		pool + "/x@y": driver.ErrNotFound,
	} {
		if err := d.Clone(t.Context(), s, driver.Dataset{Kind: zfs.Kind, Name: name}); !errors.Is(err, want) {
			t.Errorf("Clone to %q: %v, want %v", name, err, want)
		}
	}
	do(t, "zfs", "destroy", to.Name)
	if err := errors.Join(d.Unseal(t.Context(), s), d.Destroy(t.Context(), s)); err != nil {
		t.Error(err)
	}
}

// Looking into .zfs mounts a snapshot. That alone keeps none from being destroyed; a process that stays in there does, and
// then the set stays whole: no other member is unsealed.
func TestProcessInDotZFSKeepsTheSet(t *testing.T) {
	pool, top := newPool(t, 256<<20)
	a, b, d := create(t, pool+"/a"), create(t, pool+"/b"), zfs.New()
	made := takeAndSeal(t, d, requestOf(t, 2, a, b))
	_, name, _ := strings.Cut(made[1].Name, "@")
	inside := exec.Command("sleep", "1000")
	inside.Dir = filepath.Join(top, "b", ".zfs", "snapshot", name)
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = inside.Process.Kill()
		_ = inside.Wait()
	})
	if err := d.Unseal(t.Context(), made...); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("Unseal: %v, want ErrBusy", err)
	}
	for _, s := range listed(t, d, a, b) {
		if !s.Sealed {
			t.Errorf("%s is unsealed", s.Name)
		}
	}
	staysBusy(t, d, made[1], inside.Dir)
	_ = inside.Process.Kill()
	_ = inside.Wait() // killed; the mount is still there
	if err := errors.Join(d.Unseal(t.Context(), made...), d.Destroy(t.Context(), made...)); err != nil {
		t.Error(err)
	}
}

func TestHoldOfOthersKeepsASnapshot(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	do(t, "zfs", "hold", "their tag", s.Name)
	if got := listed(t, d, ds); len(got) != 1 || len(got[0].Pins) != 0 {
		t.Errorf("%+v", got)
	}
	staysBusy(t, d, s, "their tag")
	do(t, "zfs", "release", "their tag", s.Name)
	if err := d.Destroy(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// TestPromotedAndRenamed: what is sealed is known by its seal under whatever dataset it lies.
func TestPromotedAndRenamed(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	renamed := driver.Dataset{Kind: zfs.Kind, Name: pool + "/new name"}
	do(t, "zfs", "rename", ds.Name, renamed.Name)
	got := listed(t, d, renamed)
	if len(got) != 1 || got[0].GUID != s.GUID || !got[0].Sealed || got[0].Fault != "" || got[0].Dataset != renamed {
		t.Fatalf("renamed: %+v", got)
	}
	if got := listed(t, d, ds); len(got) != 0 {
		t.Errorf("under the old name: %+v", got)
	}
	if err := d.Seal(t.Context(), "atomic", s); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Seal by the old name: %v", err)
	}
	clone := driver.Dataset{Kind: zfs.Kind, Name: pool + "/clone"}
	if err := d.Clone(t.Context(), got[0], clone); err != nil {
		t.Fatal(err)
	}
	do(t, "zfs", "promote", clone.Name)
	do(t, "zfs", "destroy", renamed.Name)
	got = listed(t, d, clone)
	if len(got) != 1 || got[0].GUID != s.GUID || !got[0].Sealed || got[0].Fault != "" || got[0].Member != 1 {
		t.Fatalf("promoted: %+v", got)
	}
	if err := d.Unseal(t.Context(), got...); err != nil {
		t.Fatal(err)
	}
	got = listed(t, d, clone)
	if len(got) != 1 || got[0].Sealed || got[0].Fault != "" {
		t.Fatalf("unsealed: %+v", got)
	}
	if err := d.Destroy(t.Context(), got...); err != nil || len(listed(t, d, clone)) != 0 {
		t.Error(err)
	}
}

// TestReplacedBeforeTake: a dataset that was swapped does not become a member of the set.
func TestReplacedBeforeTake(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	prepared := func(n int) driver.Group {
		t.Helper()
		g, err := d.Prepare(t.Context(), requestOf(t, n, ds))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := prepared(1)
	do(t, "zfs", "destroy", ds.Name)
	create(t, ds.Name)
	made, err := driver.Take(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Seal(t.Context(), "atomic", made...); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("Seal: %v, want ErrForeign", err)
	}
	g = prepared(2)
	do(t, "zfs", "destroy", "-r", ds.Name)
	if _, err := driver.Take(t.Context(), g); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Take: %v, want ErrNotFound", err)
	}
}

// TestInheritedIsNotBelieved: properties of a dataset make none of its snapshots ours.
// A copy that somebody sent with its properties is theirs: it makes no set incomplete, goes with no set, and outlives it.
func TestReceivedCopyIsNotOurs(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	a, b, d := create(t, pool+"/a"), create(t, pool+"/b"), zfs.New()
	made := takeAndSeal(t, d, requestOf(t, 1, a, b))
	_, name, _ := strings.Cut(made[0].Name, "@")
	do(t, "sh", "-c", "zfs send -p "+made[0].Name+" | zfs receive -u "+pool+"/props")
	do(t, "sh", "-c", "zfs send -R "+made[1].Name+" | zfs receive -u "+pool+"/stream")
	copies := []string{pool + "/props@" + name, pool + "/stream@" + name}
	for i, c := range copies {
		if property(t, c, "volsnap:sealed") == "-" || property(t, c, "guid") != made[i].GUID {
			t.Fatalf("%s has no seal, or another GUID", c)
		}
	}
	want := []string{made[0].Name, made[1].Name}
	inPool := func() []string { // of which the datasets are asked for, all of them
		var datasets []driver.Dataset
		for name := range strings.Lines(do(t, "zfs", "list", "-H", "-o", "name", "-r", pool)) {
			datasets = append(datasets, driver.Dataset{Kind: zfs.Kind, Name: strings.TrimSpace(name)})
		}
		return namesOf(listed(t, d, datasets...))
	}
	if diff := cmp.Diff(want, inPool()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	forged := made[0]
	forged.Name, forged.Dataset.Name = copies[0], pool+"/props"
	for what, err := range map[string]error{
		"Unseal": d.Unseal(t.Context(), forged), "Destroy": d.Destroy(t.Context(), forged), "Pin": d.Pin(t.Context(), forged, "x"),
	} {
		if !errors.Is(err, driver.ErrForeign) {
			t.Errorf("%s of a copy: %v, want ErrForeign", what, err)
		}
	}
	if err := errors.Join(d.Unseal(t.Context(), made...), d.Destroy(t.Context(), made...)); err != nil {
		t.Fatal(err)
	}
	if left := inPool(); len(left) > 0 || !exists(copies[0]) || !exists(copies[1]) {
		t.Errorf("afterwards %q is listed; the copies are there: %t, %t", left, exists(copies[0]), exists(copies[1]))
	}
}

func namesOf(s []driver.Snapshot) (names []string) {
	for _, one := range s {
		names = append(names, one.Name)
	}
	return names
}

func TestInheritedIsNotBelieved(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	for _, prop := range []string{"volsnap:record", "volsnap:sealed"} {
		do(t, "zfs", "set", prop+"="+property(t, s.Name, prop), ds.Name)
	}
	if err := d.Destroy(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	do(t, "zfs", "inherit", "volsnap:sealed", ds.Name)
	other := requestOf(t, 2, ds).Set.SnapshotName()
	do(t, "zfs", "snapshot", s.Name)
	do(t, "zfs", "snapshot", ds.Name+"@"+other)
	if got := listed(t, d, ds); len(got) != 0 {
		t.Errorf("listed %+v", got)
	}
	s.GUID = property(t, s.Name, "guid")
	if err := d.Destroy(t.Context(), s); !errors.Is(err, driver.ErrForeign) || !exists(s.Name) {
		t.Errorf("Destroy: %v", err)
	}
	made := takeAndSeal(t, d, requestOf(t, 3, ds))
	if got := listed(t, d, ds); len(got) != 1 || got[0].GUID != made[0].GUID || got[0].Fault != "" || !got[0].Sealed {
		t.Errorf("listed %+v", got)
	}
}

// TestForgedLine: a property with a line break in it makes nobody else's snapshot ours.
func TestForgedLine(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	ds, d := create(t, pool+"/a"), zfs.New()
	s := takeAndSeal(t, d, requestOf(t, 1, ds))[0]
	victim := ds.Name + "@" + requestOf(t, 2, ds).Set.SnapshotName()
	do(t, "zfs", "snapshot", victim)
	guid := property(t, victim, "guid")
	forged := strings.Join([]string{victim, guid, "1", "1", "0", "1 atomic 1 1:" + guid, "x"}, "\t")
	do(t, "zfs", "set", "volsnap:record.4=x\t-\n"+forged, s.Name)
	if got, err := d.Snapshots(t.Context(), ds); err == nil {
		t.Errorf("listed %+v", got)
	}
}

// TestListingAsRaw compares with what zfs itself says, for all datasets and for one, of nested names.
func TestListingAsRaw(t *testing.T) {
	pool, _ := newPool(t, 256<<20)
	parent, child, d := create(t, pool+"/p"), create(t, pool+"/p/c"), zfs.New()
	for n := range 3 {
		takeAndSeal(t, d, requestOf(t, n, parent, child))
	}
	do(t, "zfs", "snapshot", "-r", parent.Name+"@theirs")
	raw := func(ds string) (names []string) {
		out, err := exec.Command("zfs", "list", "-H", "-t", "snapshot", "-o", "name", ds).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(string(out)) {
			if !strings.HasSuffix(name, "@theirs") {
				names = append(names, name)
			}
		}
		return names
	}
	for _, ds := range [][]driver.Dataset{{parent}, {child}, {child, parent}, {parent, child, child}} {
		var want, got []string
		for _, one := range []driver.Dataset{parent, child} {
			if slices.Contains(ds, one) {
				want = append(want, raw(one.Name)...)
			}
		}
		for _, s := range listed(t, d, ds...) {
			got = append(got, s.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", ds, diff)
		}
	}
}
