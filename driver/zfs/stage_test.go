//go:build vmtest

package zfs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/driver/zfs"
)

// stageStorage names clones beside the datasets of the suite.
type stageStorage struct{ storage }

func (s stageStorage) CloneName(_ testing.TB, name string) driver.Dataset {
	return driver.Dataset{Kind: zfs.Kind, Name: s.pool + "/data sets/" + name}
}

func TestStages(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	drivertest.RunStages(t, stageStorage{storage{pool, top}})
}

// settingsNow are the properties of a dataset, but for those that tell of what is in it.
func settingsNow(t testing.TB, name string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(do(t, "zfs", "get", "-Hp", "-o", "property,value,source", "all", name)) {
		f := strings.Split(line, "\t")
		if !slices.Contains(append(slices.Clone(counters), "guid", "creation", "createtxg", "origin", "clones", "canmount", "usedbyrefreservation", "snapshot_count", "filesystem_count"), f[0]) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// TestRestoredLine: after an earlier state was put in place every set is there, is mounted, sent and destroyed as ever; what is taken
// then is sent on top of what was restored, and a place takes it without rewinding.
func TestRestoredLine(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/pg", "-o", "recordsize=16K", "-o", "com.example:team=db us", "-o", "quota=300M", "-o", "reservation=50M", "-o", "atime=off", "-o", "xattr=sa")
	for _, taken := range []string{"refquota", "refreservation", "snapshot_limit"} {
		do(t, "zfs", "set", taken+"=10M", ds.Name)
		do(t, "zfs", "set", taken+"=none", ds.Name)
	}
	at := top + "/pg"
	sets := sealedSets(t, d, ds, at, 3)
	theirs := ds.Name + "@theirs"
	do(t, "zfs", "snapshot", theirs)
	r := into(t, newPlace(t, pool, "place"))
	replicate(t, d, r, sets[0], nil)
	second := replicate(t, d, r, sets[1], &sets[0])
	replicate(t, d, r, sets[2], &sets[1])
	undo := sealedSet(t, d, ds, at, 4)
	before := settingsNow(t, ds.Name)
	was, err := d.Identity(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	st, err := d.Stage(t.Context(), sets[1], "restore")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, settingsNow(t, ds.Name)); diff != "" {
		t.Errorf("the settings of the place have changed:\n%s", diff)
	}
	find := func(want driver.Snapshot) driver.Snapshot {
		t.Helper()
		for _, s := range listed(t, d, ds) {
			if s.GUID == want.GUID {
				return s
			}
		}
		t.Fatalf("%s is not listed", want.Name)
		return want
	}
	undo = find(undo)
	if err := d.Discard(t.Context(), driver.Stage{Dataset: st.Dataset, GUID: was}, &undo); err != nil {
		t.Fatal(err)
	}
	undo = find(undo)
	line := strings.Split(undo.Name, "@")[0]
	if undo.Dataset != ds || line == ds.Name || !exists(line) || exists(st.Dataset.Name) {
		t.Errorf("%+v", undo)
	}
	if now := listed(t, d); len(now) != 4 {
		t.Errorf("listed: %+v", now)
	}
	fifth := sealedSet(t, d, ds, at, 5)
	fifth = find(fifth)
	one, two, three := find(sets[0]), find(sets[1]), find(sets[2])
	if !two.Precedes(fifth) || three.Precedes(fifth) || undo.Precedes(fifth) || !three.Precedes(undo) || !one.Precedes(undo) {
		t.Errorf("%+v does not come after %+v, or after %+v", fifth, two, three)
	}
	if err := d.Pin(t.Context(), two, "test"); err != nil {
		t.Error(err)
	}
	replicate(t, d, r, undo, &three) // goes on in the old line
	last := replicate(t, d, r, fifth, &two)
	if last.Dataset == second.Dataset || len(here(t, r)) != 5 {
		t.Errorf("%+v, in all %d", last, len(here(t, r)))
	}
	sixth := find(sealedSet(t, d, ds, at, 6))
	if got := replicate(t, d, r, sixth, &fifth); got.Dataset != last.Dataset {
		t.Errorf("the next lies in %s, not in %s", got.Dataset, last.Dataset)
	}

	// All of it goes, in an order that leaves each the other's origin for a while; what others made stays.
	destroy := func(p driver.Pruner, of ...driver.Snapshot) {
		t.Helper()
		if err := p.Destroy(t.Context(), of...); err != nil {
			t.Error(err)
		}
	}
	if err := d.Unpin(t.Context(), two, "test"); err != nil {
		t.Error(err)
	}
	destroy(d, two)
	if !exists(two.Name) || len(listed(t, d, ds)) != 5 {
		t.Errorf("what has a clone is gone, or listed: %+v", listed(t, d, ds))
	}
	destroy(d, three, undo)
	if !exists(line) {
		t.Error("a line with a snapshot of others is gone")
	}
	do(t, "zfs", "destroy", line+"@theirs")
	destroy(d, one)
	if exists(line) || exists(two.Name) {
		t.Errorf("left: %s", do(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name,origin", pool))
	}
	for _, one := range here(t, r) {
		if one.Dataset == second.Dataset {
			destroy(r, one)
		}
	}
	if exists(second.Dataset.Name) || len(here(t, r)) != 2 {
		t.Errorf("left: %s", do(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name,origin", pool))
	}
	destroy(r, here(t, r)...)
	if left := do(t, "zfs", "list", "-H", "-t", "all", "-o", "name", "-r", r.Name()); left != r.Name()+"\n" {
		t.Errorf("left in the place: %s", left)
	}
}

// sealedSet is the nth set of a dataset, with a change before it.
func sealedSet(t testing.TB, d *zfs.Driver, ds driver.Dataset, at string, n int) driver.Snapshot {
	t.Helper()
	write(t, at, "f", strings.Repeat("y", n))
	return takeAndSeal(t, d, requestOf(t, n, ds))[0]
}

func identityOf(t testing.TB, d *zfs.Driver, ds driver.Dataset) string {
	t.Helper()
	guid, err := d.Identity(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	return guid
}

// foundIn is a snapshot as it is listed now.
func foundIn(t testing.TB, d *zfs.Driver, want driver.Snapshot) driver.Snapshot {
	t.Helper()
	for _, s := range listed(t, d, want.Dataset) {
		if s.GUID == want.GUID {
			return s
		}
	}
	t.Fatalf("%s is not listed", want.Name)
	return want
}

// TestDiscardWithSnapshots: a stage that has got snapshots, as one in whose place a set was taken before all was undone, is discarded
// all the same. It is none any more, and goes with the last of them.
func TestDiscardWithSnapshots(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	d := zfs.New()
	ds := create(t, pool+"/pg")
	sets := sealedSets(t, d, ds, top+"/pg", 2)
	was := identityOf(t, d, ds)
	st, err := d.Stage(t.Context(), sets[0], "undone")
	if err != nil {
		t.Fatal(err)
	}
	if auto := property(t, st.Dataset.Name, "com.sun:auto-snapshot"); auto != "false" {
		t.Errorf("com.sun:auto-snapshot of a stage is %s", auto)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if auto := property(t, ds.Name, "com.sun:auto-snapshot"); auto != "-" {
		t.Errorf("com.sun:auto-snapshot of what was swapped in is %s", auto)
	}
	undo := sealedSet(t, d, ds, top+"/pg", 3)
	if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
		t.Fatal(err)
	}
	if auto := property(t, ds.Name, "com.sun:auto-snapshot"); auto != "-" {
		t.Errorf("com.sun:auto-snapshot of what was swapped back is %s", auto)
	}
	for range 2 { // the second time it is gone
		if err := d.Discard(t.Context(), st, nil); err != nil {
			t.Fatal(err)
		}
	}
	undo = foundIn(t, d, undo)
	if exists(st.Dataset.Name) || undo.Dataset != ds || !undo.Sealed || undo.Fault != "" || strings.HasPrefix(undo.Name, ds.Name+"@") {
		t.Errorf("%+v", undo)
	}

	// A stage that was in no place, of which others made a snapshot.
	if st, err = d.Stage(t.Context(), foundIn(t, d, sets[0]), "undone"); err != nil {
		t.Fatal(err)
	}
	do(t, "zfs", "snapshot", st.Dataset.Name+"@theirs")
	if err := d.Discard(t.Context(), st, nil); err != nil {
		t.Fatal(err)
	}
	all := do(t, "zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", pool)
	if exists(st.Dataset.Name) || strings.Count(all, "\n") != 4 {
		t.Errorf("there is\n%s", all)
	}
	for theirs := range strings.Lines(all) {
		if strings.HasSuffix(theirs, "@theirs\n") {
			do(t, "zfs", "destroy", strings.TrimSpace(theirs))
		}
	}
	if err := d.Destroy(t.Context(), undo); err != nil {
		t.Error(err)
	}
	if left := do(t, "zfs", "list", "-H", "-o", "name", "-r", pool); left != pool+"\n"+ds.Name+"\n" {
		t.Errorf("left: %s", left)
	}
}
