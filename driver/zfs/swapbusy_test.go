//go:build vmtest

package zfs_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// holds is an error if the file "f" of a dataset, as it is mounted, is not that long.
func holds(t testing.TB, at string, n int, letter string) {
	t.Helper()
	if text, err := os.ReadFile(at + "/f"); err != nil || string(text) != strings.Repeat(letter, n) {
		t.Errorf("%s holds %q, %v", at, text, err)
	}
}

// mountIt mounts a snapshot until it is let go.
func mountIt(t *testing.T, d *zfs.Driver, s driver.Snapshot) (dir string, letGo func()) {
	t.Helper()
	dir = t.TempDir()
	unmount, err := d.Mount(t.Context(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unmount(t.Context()) })
	return dir, func() {
		t.Helper()
		if err := unmount(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// swapTo swaps, and discards what was in the place.
func swapTo(t *testing.T, d *zfs.Driver, st driver.Stage, ds driver.Dataset, since *driver.Snapshot) {
	t.Helper()
	was := identityOf(t, d, ds)
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if since != nil {
		now := foundIn(t, d, *since)
		since = &now
	}
	if err := d.Discard(t.Context(), driver.Stage{Dataset: st.Dataset, GUID: was}, since); err != nil {
		t.Fatal(err)
	}
}

// TestSwapWhileASetIsMounted: ZFS moves no snapshot that is mounted, and none that is newer. A dataset is swapped all the same. Its sets
// are listed, sent, pinned and restored as ever, and lie where they belong as soon as something is pruned after the mount is gone.
func TestSwapWhileASetIsMounted(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/pg")
	at := top + "/pg"
	sets := sealedSets(t, d, ds, at, 2)
	r := into(t, newPlace(t, pool, "place"))
	replicate(t, d, r, sets[0], nil)
	replicate(t, d, r, sets[1], &sets[0])
	undo := sealedSet(t, d, ds, at, 3)
	replicate(t, d, r, undo, &sets[1])
	dir, letGo := mountIt(t, d, sets[0])
	if err := d.CheckSwap(t.Context(), ds); err != nil {
		t.Error(err)
	}
	st, err := d.Stage(t.Context(), sets[1], "x")
	if err != nil {
		t.Fatal(err)
	}
	swapTo(t, d, st, ds, &undo)
	holds(t, at, 2, "x")
	holds(t, dir, 1, "x")
	all := listed(t, d, ds)
	if len(all) != 3 {
		t.Errorf("listed: %+v", all)
	}
	for _, s := range all {
		if s.Fault != "" || !s.Sealed || s.Dataset != ds || strings.HasPrefix(s.Name, ds.Name+"@") {
			t.Errorf("listed: %+v", s)
		}
	}
	two := foundIn(t, d, sets[1])
	if err := d.Destroy(t.Context(), two); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("destroyed with the dataset on top of it: %v", err)
	}
	next := foundIn(t, d, sealedSet(t, d, ds, at, 4))
	if undo = foundIn(t, d, undo); !two.Precedes(next) || undo.Precedes(next) || !two.Precedes(undo) {
		t.Errorf("%+v does not come after %+v, or after %+v", next, two, undo)
	}
	if err := errors.Join(d.Pin(t.Context(), two, "test"), d.Unpin(t.Context(), two, "test")); err != nil {
		t.Error(err)
	}
	replicate(t, d, r, next, &two)

	// Once more, with what is beside as it is.
	if st, err = d.Stage(t.Context(), next, "y"); err != nil {
		t.Fatal(err)
	}
	write(t, at, "f", "gone")
	swapTo(t, d, st, ds, nil)
	holds(t, at, 4, "y")
	last := foundIn(t, d, sealedSet(t, d, ds, at, 5))
	if next = foundIn(t, d, next); !next.Precedes(last) || !foundIn(t, d, two).Precedes(last) || undo.Precedes(last) {
		t.Errorf("%+v does not come after %+v", last, next)
	}
	replicate(t, d, r, last, &next)
	if len(listed(t, d, ds)) != 5 || len(here(t, r)) != 5 {
		t.Errorf("listed: %+v, and as replicas %+v", listed(t, d, ds), here(t, r))
	}
	holds(t, dir, 1, "x")

	letGo()
	if err := d.Destroy(t.Context(), foundIn(t, d, undo)); err != nil {
		t.Error(err)
	}
	for _, s := range listed(t, d, ds) {
		if !strings.HasPrefix(s.Name, ds.Name+"@") || s.Lines != nil {
			t.Errorf("listed: %+v", s)
		}
	}
	if left := do(t, "zfs", "list", "-H", "-d", "1", "-o", "name", "-r", pool); left != pool+"\n"+ds.Name+"\n"+r.Name()+"\n" {
		t.Errorf("left: %s", left)
	}
	if err := d.Destroy(t.Context(), listed(t, d, ds)...); err != nil {
		t.Error(err)
	}
}

// TestSwapBackWhileASetIsMounted: what undoes a swap has to come to its end whatever somebody looks at meanwhile.
func TestSwapBackWhileASetIsMounted(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	d := zfs.New()
	ds := create(t, pool+"/pg", "-o", "recordsize=16K")
	at := top + "/pg"
	sets := sealedSets(t, d, ds, at, 2)
	before := settingsNow(t, ds.Name)
	was := identityOf(t, d, ds)
	for _, discard := range []bool{false, true} {
		st, err := d.Stage(t.Context(), foundIn(t, d, sets[1]), "x")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
			t.Fatal(err)
		}
		dir, letGo := mountIt(t, d, foundIn(t, d, sets[0]))
		if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
			t.Fatal(err)
		}
		holds(t, at, 2, "x")
		holds(t, dir, 1, "x")
		if is := identityOf(t, d, ds); is != was || settingsNow(t, ds.Name) != before || property(t, ds.Name, "canmount") != "on" {
			t.Errorf("it is %s, with\n%s", is, settingsNow(t, ds.Name))
		}
		if one := foundIn(t, d, sets[0]); !strings.HasPrefix(one.Name, st.Dataset.Name+"@") {
			t.Errorf("nothing was in the way: %+v", one)
		}
		if discard { // of what holds the sets
			if err := d.Discard(t.Context(), st, nil); err != nil {
				t.Fatal(err)
			}
		}
		third := sealedSet(t, d, ds, at, 9)
		write(t, at, "f", "xx")
		letGo()
		if !discard { // a swap that has nothing to do but that
			if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
				t.Fatal(err)
			}
			if one := foundIn(t, d, sets[0]); !strings.HasPrefix(one.Name, ds.Name+"@") {
				t.Errorf("it was not moved: %+v", one)
			}
			if err := d.Discard(t.Context(), st, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Destroy(t.Context(), foundIn(t, d, third)); err != nil {
			t.Error(err)
		}
		left := do(t, "zfs", "list", "-H", "-t", "filesystem,snapshot", "-o", "name", "-r", pool)
		if want := strings.Join([]string{pool, ds.Name, sets[0].Name, sets[1].Name, ""}, "\n"); left != want {
			t.Errorf("there is\n%s", left)
		}
	}
}

// TestSwapWithoutRoom: a quota that is too small for what is restored, and a reservation for which there is no room beside what was
// replaced, keep nothing from being restored.
func TestSwapWithoutRoom(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/pg", "-o", "compression=off")
	at := top + "/pg"
	const large = 40 << 20
	fill := func(file string) {
		t.Helper()
		write(t, at, file, strings.Repeat("0123456789abcdef", large/16))
		do(t, "zpool", "sync", pool)
	}
	fill("large")
	one := sealedSets(t, d, ds, at, 1)[0]
	if err := os.Remove(at + "/large"); err != nil {
		t.Fatal(err)
	}
	do(t, "zpool", "sync", pool)
	do(t, "zfs", "set", "refquota=30M", ds.Name)
	st, err := d.Stage(t.Context(), one, "quota")
	if err != nil {
		t.Fatal(err)
	}
	was := identityOf(t, d, ds)
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if quota := property(t, ds.Name, "refquota"); quota != "0" {
		t.Errorf("its refquota is %s", quota)
	}
	if text, err := os.ReadFile(at + "/large"); err != nil || len(text) != large {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if err := errors.Join(d.Swap(t.Context(), ds, st.Dataset, was), d.Discard(t.Context(), st, nil)); err != nil {
		t.Fatal(err)
	}
	if quota, owed := property(t, ds.Name, "refquota"), property(t, ds.Name, "volsnap:owed"); quota != fmt.Sprint(30<<20) || owed != "-" {
		t.Errorf("its refquota is %s, back again, and it is owed %s", quota, owed)
	}
	if err := d.Destroy(t.Context(), foundIn(t, d, one)); err != nil {
		t.Fatal(err)
	}

	do(t, "zfs", "set", "refquota=none", ds.Name)
	two := sealedSet(t, d, ds, at, 2)
	fill("other")
	room, err := strconv.Atoi(property(t, pool, "available"))
	if err != nil {
		t.Fatal(err)
	}
	do(t, "zfs", "set", fmt.Sprint("reservation=", room+large/2), ds.Name)
	if st, err = d.Stage(t.Context(), foundIn(t, d, two), "reservation"); err != nil {
		t.Fatal(err)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	holds(t, at, 2, "y")
	if reserved := property(t, ds.Name, "reservation"); reserved != "0" {
		t.Errorf("its reservation is %s, with %s left", reserved, property(t, pool, "available"))
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
		t.Fatal(err)
	}
	if reserved := property(t, ds.Name, "reservation"); reserved != fmt.Sprint(room+large/2) {
		t.Errorf("its reservation is %s, back again", reserved)
	}
}
