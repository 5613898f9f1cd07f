package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// TestPresentOf: the set that was restored stays, however old, until there is a newer one of what came out of it.
func TestPresentOf(t *testing.T) {
	ds, other := driver.Dataset{Kind: "zfs", Name: "tank/pg"}, driver.Dataset{Kind: "zfs", Name: "tank/ipfs"}
	var sets []snapset.Set
	for i := range 4 {
		id, err := driver.NewSetID("app", time.Date(2026, 11, 21, 2, i, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, snapset.Set{ID: id, Snapshots: []driver.Snapshot{{Dataset: ds, Order: uint64(i + 1)}, {Dataset: other, Order: uint64(i + 1)}}})
	}
	if got := presentOf(sets); len(got) > 0 {
		t.Errorf("without lines: %v", got)
	}
	for i := 1; i < 4; i++ { // the first was restored, and nothing taken since
		sets[i].Snapshots[0].Lines = []driver.Line{{ID: "x", Order: uint64(i + 1)}, {Order: 1}}
	}
	if diff := cmp.Diff(map[driver.SetID][]driver.Dataset{sets[0].ID: {ds}}, presentOf(sets)); diff != "" {
		t.Error(diff)
	}
	sets[3].Snapshots[0].Lines = nil
	if diff := cmp.Diff(map[driver.SetID][]driver.Dataset{sets[3].ID: {ds}}, presentOf(sets)); diff != "" {
		t.Error(diff)
	}
}

// TestHistories: at a place, what came after a restore lies in another file system, and is not taken for a volume that was moved.
func TestHistories(t *testing.T) {
	at := func(name string, lines ...driver.Line) driver.Snapshot {
		return driver.Snapshot{Dataset: driver.Dataset{Kind: "zfs", Name: "tank/place/" + name}, Lines: lines}
	}
	one := histories([]snapset.Set{{Snapshots: []driver.Snapshot{
		at("a"), at("c"), at("b", driver.Line{ID: "b"}, driver.Line{ID: "a"}), at("d", driver.Line{ID: "d"}, driver.Line{ID: "b"}, driver.Line{ID: "a"}),
	}}})
	if a, b, d := one(at("a").Dataset), one(at("b").Dataset), one(at("d").Dataset); a != b || a != d {
		t.Errorf("%v, %v and %v", a, b, d)
	}
	if c := one(at("c").Dataset); c != at("c").Dataset {
		t.Errorf("%v", c)
	}
}
