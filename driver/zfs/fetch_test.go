//go:build vmtest

package zfs_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// TestFetched: a replica comes back, is put in place of the dataset, and is a set of this host again, on which the next one builds.
func TestFetched(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/a b")
	at := top + "/a b"
	sets := sealedSets(t, d, ds, at, 2)
	r := into(t, newPlace(t, pool, "place"))
	first := replicate(t, d, r, sets[0], nil)
	if err := r.Seal(t.Context(), "atomic", first); err != nil {
		t.Fatal(err)
	}
	first = here(t, r)[0]
	place, err := d.FetchInto(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.FetchInto(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
	fetched, ok := place.(*zfs.Fetched)
	if !ok {
		t.Fatalf("%T", place)
	}

	// While the dataset has it itself, that is what is staged.
	got := replicate(t, r, fetched, first, nil)
	st, err := fetched.Stage(t.Context(), got, "here")
	if err != nil {
		t.Fatal(err)
	}
	if origin := property(t, st.Dataset.Name, "origin"); origin != sets[0].Name {
		t.Errorf("it is a clone of %s", origin)
	}
	if err := errors.Join(d.Discard(t.Context(), st, nil), fetched.Destroy(t.Context(), got), d.Destroy(t.Context(), sets[0])); err != nil {
		t.Fatal(err)
	}

	got = replicate(t, r, fetched, first, nil)
	if st, err = fetched.Stage(t.Context(), got, "away"); err != nil {
		t.Fatal(err)
	}
	if err := fetched.Destroy(t.Context(), got); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("destroyed while it is a stage: %v", err)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if err := fetched.Destroy(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(at + "/f"); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	if left := here(t, fetched); len(left) > 0 || do(t, "zfs", "list", "-Hr", "-o", "name", fetched.Name()) != fetched.Name()+"\n" {
		t.Errorf("left: %+v", left)
	}
	all := listed(t, d, ds)
	i := slices.IndexFunc(all, func(s driver.Snapshot) bool { return s.GUID == first.GUID })
	if i < 0 || !all[i].Sealed || all[i].Fault != "" || all[i].Consistency != "atomic" || len(all) != 2 {
		t.Fatalf("listed: %+v", all)
	}
	next := sealedSet(t, d, ds, at, 3)
	for _, s := range listed(t, d, ds) {
		if s.GUID == next.GUID && !all[i].Precedes(s) {
			t.Errorf("%+v does not come after %+v", s, all[i])
		}
	}
	if second := replicate(t, d, r, next, &all[i]); second.Dataset != first.Dataset {
		t.Errorf("%+v", second)
	}
	if err := d.Destroy(t.Context(), all[i]); err != nil {
		t.Error(err)
	}
}

// TestFetchedByAKilledOne: what was moved to the dataset, and not made one of its own before volsnap was killed, is not lost for ever.
func TestFetchedByAKilledOne(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/pg")
	at := top + "/pg"
	sets := sealedSets(t, d, ds, at, 2)
	r := into(t, newPlace(t, pool, "place"))
	first := replicate(t, d, r, sets[0], nil)
	if err := errors.Join(r.Seal(t.Context(), "atomic", first), d.Destroy(t.Context(), sets[0])); err != nil {
		t.Fatal(err)
	}
	first = here(t, r)[0]
	place, err := d.FetchInto(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	fetched, ok := place.(*zfs.Fetched)
	if !ok {
		t.Fatalf("%T", place)
	}
	was := identityOf(t, d, ds)
	moved := func() (driver.Snapshot, driver.Stage) { // and no more
		t.Helper()
		got := replicate(t, r, place, first, nil)
		st, err := fetched.Stage(t.Context(), got, "killed")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
			t.Fatal(err)
		}
		do(t, "zfs", "promote", ds.Name)
		if all := listed(t, d, ds); len(all) != 1 {
			t.Errorf("listed: %+v", all)
		}
		return got, st
	}
	destroy := func(s driver.Snapshot) {
		t.Helper()
		if err := place.Destroy(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if left := here(t, place); len(left) > 0 || do(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name", pool+"/volsnap-fetched") != pool+"/volsnap-fetched\n" {
			t.Errorf("left: %+v", left)
		}
	}

	// All is undone, and it lies aside.
	got, st := moved()
	if err := d.Swap(t.Context(), ds, st.Dataset, was); err != nil {
		t.Fatal(err)
	}
	destroy(got)
	if err := d.Discard(t.Context(), st, nil); err != nil {
		t.Fatal(err)
	}
	if left := do(t, "zfs", "list", "-Hr", "-d", "1", "-o", "name", pool); strings.Contains(left, "/volsnap-stage") || strings.Contains(left, "/volsnap-line") {
		t.Errorf("left: %s", left)
	}

	// All goes on.
	got, _ = moved()
	destroy(got)
	one := foundIn(t, d, driver.Snapshot{Dataset: ds, GUID: got.GUID})
	if !one.Sealed || one.Fault != "" || one.Consistency != "atomic" || !strings.HasPrefix(one.Name, ds.Name+"@") {
		t.Errorf("%+v", one)
	}
	if all := listed(t, d, ds); len(all) != 2 {
		t.Errorf("listed: %+v", all)
	}
	if err := d.Unseal(t.Context(), one); err != nil { // somebody is about to destroy it
		t.Fatal(err)
	}
	destroy(got)
	if one = foundIn(t, d, one); one.Sealed {
		t.Errorf("it was sealed again: %+v", one)
	}
}

func TestCheckSwap(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	d := zfs.New()
	ds := create(t, pool+"/pg")
	above := create(t, pool+"/above")
	create(t, pool+"/above/child")
	key := top + "/key"
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := create(t, pool+"/secret", "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+key)
	inside := create(t, pool+"/secret/pg")
	for _, good := range []driver.Dataset{ds, inside} {
		if err := d.CheckSwap(t.Context(), good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []driver.Dataset{{Kind: zfs.Kind, Name: pool}, above, secret} {
		if err := d.CheckSwap(t.Context(), bad); !errors.Is(err, driver.ErrNotSupported) {
			t.Errorf("%s: %v", bad, err)
		}
	}

	// The key of a parent serves both.
	sets := sealedSets(t, d, inside, top+"/secret/pg", 2)
	st, err := d.Stage(t.Context(), sets[0], "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Swap(t.Context(), inside, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(top + "/secret/pg/f"); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}

	// In use, it stays as it is.
	one := sealedSets(t, d, ds, top+"/pg", 1)[0]
	if st, err = d.Stage(t.Context(), one, "x"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(top + "/pg/f")
	if err != nil {
		t.Fatal(err)
	}
	before := settingsNow(t, ds.Name)
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("in use: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	twice := t.TempDir()
	do(t, "mount", "--bind", top+"/pg", twice)
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); !errors.Is(err, driver.ErrBusy) || !strings.Contains(err.Error(), twice) {
		t.Errorf("mounted twice: %v", err)
	}
	do(t, "umount", twice)
	if after := settingsNow(t, ds.Name); after != before || property(t, ds.Name, "canmount") != "on" {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Error(err)
	}
}
