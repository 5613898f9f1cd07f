package driver_test

import (
	"testing"

	"github.com/volsnap/volsnap/driver"
)

// TestPrecedes: of several histories, an increment builds on what it came out of, and on nothing else.
func TestPrecedes(t *testing.T) {
	ds := driver.Dataset{Kind: "zfs", Name: "tank/pg"}
	at := func(order uint64, lines ...driver.Line) driver.Snapshot {
		return driver.Snapshot{Dataset: ds, Order: order, Lines: lines}
	}
	// 1 and 2, then 3 and 4, which were replaced by 2; then 5 and 6, which were replaced by 4 and then by 2 again; then 7.
	one, two, seven := at(1), at(2), at(7)
	three, four := at(3, driver.Line{ID: "a", Order: 3}, driver.Line{Order: 2}), at(4, driver.Line{ID: "a", Order: 4}, driver.Line{Order: 2})
	five := at(5, driver.Line{ID: "b", Order: 5}, driver.Line{ID: "a", Order: 3}, driver.Line{Order: 2})
	all := []driver.Snapshot{one, two, three, four, five, seven}
	for _, tc := range []struct {
		to   driver.Snapshot
		from []uint64
	}{{one, nil}, {two, []uint64{1}}, {three, []uint64{1, 2}}, {four, []uint64{1, 2, 3}}, {five, []uint64{1, 2, 3}}, {seven, []uint64{1, 2}}} {
		var got []uint64
		for _, s := range all {
			if s.Precedes(tc.to) {
				got = append(got, s.Order)
			}
		}
		if len(got) != len(tc.from) {
			t.Errorf("before %d: %d, want %d", tc.to.Order, got, tc.from)
			continue
		}
		for i := range got {
			if got[i] != tc.from[i] {
				t.Errorf("before %d: %d, want %d", tc.to.Order, got, tc.from)
			}
		}
	}
	other := one
	other.Dataset.Name = "tank/x"
	if other.Precedes(two) {
		t.Error("one of another dataset")
	}
}
