package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/retention"
)

// I8: each of these stops a prune before it begins.
func TestPruneIsCareful(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*node)
		unusual bool
		want    string
	}{
		{name: "the listing fails", want: "boom", change: func(n *node) { n.storage.Fault("Snapshots", 2, errors.New("boom")) }},
		{name: "the clock is behind", want: "clock", change: func(n *node) { n.clock = n.clock.Add(-24 * time.Hour) }},
		{name: "the clock is behind, and the operator insists", want: "clock", unusual: true, change: func(n *node) { n.clock = n.clock.Add(-24 * time.Hour) }},
		{name: "an unusual share", want: "unusual", change: func(n *node) { n.app.Keep = retention.Policy{Last: 1} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.app.Keep = retention.Policy{Last: 10}
			for range 12 {
				n.take()
			}
			tt.change(n)
			removed, err := n.Prune(t.Context(), n.app, tt.unusual)
			if len(removed) > 0 || !errors.Is(err, engine.ErrCareful) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("removed %d, error %v; want ErrCareful with %q", len(removed), err, tt.want)
			}
			if got := len(n.ids()); got != 12 {
				t.Errorf("%d sets are left of 12", got)
			}
		})
	}
}

func TestPruneOnDemand(t *testing.T) {
	n := newNode(t)
	for range 12 {
		n.take()
	}
	n.app.Keep = retention.Policy{Last: 1}
	removed, err := n.Prune(t.Context(), n.app, true)
	if err != nil || len(removed) != 11 {
		t.Fatalf("removed %d, %v", len(removed), err)
	}
	n.sound()
}

// A set that somebody damaged is neither counted nor removed, and does not take the place of a good one.
func TestDamagedSetsAreKeptAndNotCounted(t *testing.T) {
	n := newNode(t)
	good, worse := n.take(), n.take()
	damaged, err := n.Set(t.Context(), worse)
	if err != nil {
		t.Fatal(err)
	}
	n.storage.SetFault(damaged.Snapshots[1], "is writable")
	n.app.Keep = retention.Policy{Last: 1}
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) != 0 {
		t.Fatalf("removed %v, %v; the only good set has to stay", removed, err)
	}
	if !n.has(good) || !n.has(worse) {
		t.Fatalf("sets: %q", n.ids())
	}
	h, err := n.Health(t.Context(), "app", time.Hour)
	if err != nil || h.Newest.ID != good || len(h.Faulty) != 1 {
		t.Fatalf("health: %+v, %v", h, err)
	}
}

func TestDelete(t *testing.T) {
	n := newNode(t)
	old, pinned, newest := n.take(), n.take(), n.take()
	if err := n.Pin(t.Context(), pinned, "before the upgrade"); err != nil {
		t.Fatal(err)
	}
	missing, err := driver.NewSetID("app", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		id   driver.SetID
		want error
	}{{old, nil}, {pinned, engine.ErrPinned}, {newest, engine.ErrRefused}, {missing, engine.ErrNoSet}, {old, engine.ErrNoSet}}
	for _, tt := range tests {
		if err := n.Delete(t.Context(), tt.id); !errors.Is(err, tt.want) {
			t.Errorf("delete %s: %v; want %v", tt.id, err, tt.want)
		}
	}
	if err := n.Unpin(t.Context(), pinned, "another reason"); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("unpin for another reason: %v", err)
	}
	if err := n.Unpin(t.Context(), pinned, "before the upgrade"); err != nil {
		t.Error(err)
	}
	if err := n.Delete(t.Context(), pinned); err != nil {
		t.Error(err)
	}
	n.sound()
	if got := n.ids(); len(got) != 1 || got[0] != newest {
		t.Errorf("left: %q", got)
	}
}

// A set that this host did not record, between those that it did, is neither removed nor lets others go: somebody who may set
// properties on a storage may have made it up.
func TestUnrecordedSetIsNotCounted(t *testing.T) {
	n := newNode(t)
	n.app.Keep = retention.Policy{Last: 1}
	old, newest, madeUp := n.take(), n.take(), n.take()
	if err := n.Store.Remove(madeUp); err != nil {
		t.Fatal(err)
	}
	h, err := n.Health(t.Context(), "app", time.Hour)
	if err != nil || len(h.Unrecorded) != 1 || h.Unrecorded[0] != madeUp {
		t.Errorf("health: %+v, %v", h, err)
	}
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) != 1 || removed[0].ID != old {
		t.Fatalf("removed %+v, %v", removed, err)
	}
	if !n.has(newest) || !n.has(madeUp) {
		t.Errorf("left: %q", n.ids())
	}
	if err := n.Store.Remove(newest); err != nil { // now all are lost, and all count
		t.Fatal(err)
	}
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) != 1 || removed[0].ID != newest {
		t.Errorf("without any manifest: removed %+v, %v", removed, err)
	}
}

// Sets from before the manifests were lost are older than those with one, and count.
func TestSetsFromBeforeALossCount(t *testing.T) {
	n := newNode(t)
	n.app.Keep = retention.Policy{Last: 2}
	a, b, c := n.take(), n.take(), n.take()
	for _, id := range []driver.SetID{a, b} {
		if err := n.Store.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) != 1 || removed[0].ID != a {
		t.Errorf("removed %+v, %v; want %s, and %s and %s stay", removed, err, a, b, c)
	}
}

// A volume whose file system is not mounted is a directory of what lies below. Sets of that do not push out the last one with the data.
func TestLastSetOfAnotherPlaceStays(t *testing.T) {
	n := newNode(t)
	below := n.paths[1]
	good := []driver.SetID{n.take(), n.take()}
	n.storage.RemoveDataset(driver.Dataset{Kind: driverfake.Kind, Name: below}) // unmounted
	n.storage.AddDataset(filepath.Dir(below))
	if _, err := n.Run(t.Context(), n.app, ""); !errors.Is(err, engine.ErrRefused) {
		t.Fatalf("with an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(below, "somebody"), nil, 0o600); err != nil { // as Docker does
		t.Fatal(err)
	}
	for range 4 {
		if _, err := n.Run(t.Context(), n.app, ""); err != nil {
			t.Fatal(err)
		}
	}
	if !n.has(good[1]) || n.has(good[0]) || len(n.ids()) != 3 {
		t.Errorf("%q; want the last good one, %s, and two", n.ids(), good[1])
	}
	h, err := n.Health(t.Context(), "app", time.Hour)
	if err != nil || len(h.Problems) != 1 || h.Problems[0].About != string(good[1]) || h.Problems[0].Level != driver.Warning {
		t.Errorf("health: %+v, %v", h.Problems, err)
	}
	if err := n.Delete(t.Context(), good[1]); err != nil {
		t.Error(err)
	}
}

// A set that was taken while the clock was ahead keeps everything from being pruned, until it is deleted by name.
func TestSetOfATimeToCome(t *testing.T) {
	n := newNode(t)
	n.take()
	n.clock = n.clock.Add(400 * 24 * time.Hour)
	ahead := n.take()
	if err := n.Delete(t.Context(), ahead); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("the newest: %v", err)
	}
	n.clock = n.clock.Add(-400 * 24 * time.Hour)
	n.take()
	n.take()
	if _, err := n.Prune(t.Context(), n.app, true); !errors.Is(err, engine.ErrCareful) || !strings.Contains(err.Error(), string(ahead)) {
		t.Errorf("prune: %v", err)
	}
	n.storage.Permit(ahead)
	if err := n.Delete(t.Context(), ahead); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := n.Prune(t.Context(), n.app, false); err != nil || len(n.ids()) != 2 {
		t.Errorf("afterwards %q, %v", n.ids(), err)
	}
}
