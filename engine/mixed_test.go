package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// newMixedNode is newNode with its second volume on another storage, which makes each group at one instant.
func newMixedNode(t *testing.T) (*node, *driverfake.Driver) {
	n := newNode(t)
	other := driverfake.NewKind(t, "other")
	other.SetAtomic(true)
	n.Drivers = append(n.Drivers, other)
	n.storage.RemoveDataset(driver.Dataset{Kind: driverfake.Kind, Name: n.paths[1]})
	other.AddDataset(n.paths[1])
	return n, other
}

func proofs(m *snapset.Manifest) map[string]snapset.OrderedBy {
	by := map[string]snapset.OrderedBy{}
	for _, member := range m.Members {
		by[member.Driver+" "+member.Volume] = member.OrderedBy
	}
	return by
}

func TestMixedAppIsOneSet(t *testing.T) {
	n, _ := newMixedNode(t)
	n.app.Volumes[2].NotOlderThan = []string{n.paths[0], n.paths[1]}
	m, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]snapset.OrderedBy{"fake " + n.paths[0]: "", "other " + n.paths[1]: "later in order", "fake " + n.paths[2]: "later in order"}
	if diff := cmp.Diff(want, proofs(m)); diff != "" || m.Consistency != "crash" {
		t.Errorf("class %s, proofs (-want +got):\n%s", m.Consistency, diff)
	}
	for i := 1; i < len(m.Members); i++ {
		if m.Members[i].Taken.Before(m.Members[i-1].Taken) {
			t.Errorf("member %d was taken before member %d", i+1, i)
		}
	}
	n.take()
	n.take()
	if _, err := n.Prune(t.Context(), n.app, false); err != nil {
		t.Fatal(err)
	}
	n.sound()
	if got := len(n.ids()); got != 2 {
		t.Errorf("%d sets are kept, want 2", got)
	}
}

// Neighbours that their storage makes at one instant are one group, and prove each other's order in both directions. What
// lies on another storage between them keeps its place.
func TestInstantsOfAMixedApp(t *testing.T) {
	n, other := newMixedNode(t)
	n.storage.SetAtomic(true)
	n.app.Volumes[0].NotOlderThan = []string{n.paths[2]} // not neighbours: the first is older
	if p, err := n.Plan(t.Context(), n.app); err != nil || !strings.Contains(p.Err().Error(), "is taken before") {
		t.Errorf("plan: %+v, %v", p, err)
	}
	n.app.Volumes = []inventory.VolumeSpec{n.app.Volumes[0], n.app.Volumes[2]}
	m, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
	if err != nil || m.Consistency != "atomic" || m.Members[0].OrderedBy != "same transaction group" {
		t.Errorf("neighbours: %+v, %v", m, err)
	}
	n.app.Volumes = append(n.app.Volumes, inventory.VolumeSpec{Path: n.paths[1]})
	m, err = n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
	if err != nil || m.Consistency != "crash" || m.Members[0].OrderedBy != "same transaction group" {
		t.Errorf("neighbours and one elsewhere: %+v, %v", m, err)
	}
	other.Fault("Take", 1, driver.ErrNoSpace)
	if _, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{}); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("one storage is full: %v", err)
	}
	for _, s := range n.sets() {
		if !s.Complete {
			t.Errorf("left over: %+v", s)
		}
	}
}

// I8: a set of which one storage says that it is in use stays whole, though the other had let it go already.
func TestMixedSetInUseStaysWhole(t *testing.T) {
	n, other := newMixedNode(t)
	first := n.take()
	n.take()
	n.take()
	snaps, err := other.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unmount, err := other.Mount(t.Context(), snaps[0], t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prune(t.Context(), n.app, false); !errors.Is(err, driver.ErrBusy) {
		t.Errorf("prune: %v, want ErrBusy", err)
	}
	n.sound()
	if !n.has(first) {
		t.Error("the set is gone")
	}
	if err := unmount(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prune(t.Context(), n.app, false); err != nil || n.has(first) {
		t.Errorf("once it is free: %v, sets %q", err, n.ids())
	}
	n.sound()
}

// I2: a run dies after each effect on one of two storages in turn; the next leaves whole sets and nothing else.
func TestMixedKilledAfterEachEffect(t *testing.T) {
	for _, storage := range []string{"first", "second"} {
		points := 0
		for done := false; !done && !t.Failed(); points++ {
			t.Run(fmt.Sprintf("%s storage, effect %d", storage, points), func(t *testing.T) {
				n, other := newMixedNode(t)
				dies, follows := n.storage, other
				if storage == "second" {
					dies, follows = other, n.storage
				}
				for range 3 {
					n.take()
				}
				newest := n.ids()[2]
				follows.Hook(func(driverfake.Effect) error {
					if dies.Killed() {
						return driverfake.ErrKilled
					}
					return nil
				})
				dies.KillAt(points)
				_, err := n.Run(t.Context(), n.app, "")
				if done = !dies.Killed(); !done && err == nil {
					t.Error("the run did not notice")
				}
				dies.Restart()
				follows.Restart()
				if !n.has(newest) {
					t.Errorf("right after: %q, the newest %s is gone", n.ids(), newest)
				}
				if r, err := n.Run(t.Context(), n.app, ""); err != nil || !r.OK {
					t.Errorf("next run: %+v, %v", r, err)
				}
				n.sound()
			})
		}
		t.Logf("%s storage: %d points", storage, points)
	}
}

// What is wrong with a storage that the app does not use keeps no set of it from being taken. Nothing is removed meanwhile,
// and the run says that it failed.
func TestOtherStorageIsInTrouble(t *testing.T) {
	n := newNode(t)
	other := driverfake.NewKind(t, "other")
	n.Drivers = append(n.Drivers, other)
	for range 3 {
		n.take()
	}
	for i := range 9 {
		other.Fault("Snapshots", i+1, errors.New("pool is suspended"))
	}
	r, err := n.Run(t.Context(), n.app, "")
	if err == nil || !strings.Contains(err.Error(), "suspended") || r.OK || r.Set == "" {
		t.Errorf("run: %+v, %v", r, err)
	}
	other.Restart()
	if got := len(n.ids()); got != 4 {
		t.Errorf("%d sets, want the three and the new one", got)
	}
	n.sound()
}

// A listing of which one storage fails is incomplete, and nothing is removed on its strength.
func TestMixedListingFails(t *testing.T) {
	n, other := newMixedNode(t)
	for range 3 {
		n.take()
	}
	other.Fault("Snapshots", 2, errors.New("pool is suspended")) // the first is for what unfinished runs have left
	if _, err := n.Prune(t.Context(), n.app, false); err == nil || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("prune: %v", err)
	}
	if got := len(n.ids()); got != 3 {
		t.Errorf("%d sets are left, want 3", got)
	}
}

// What a storage that works tells is told also when another does not, with the error; nothing is pruned on its strength.
func TestSetsOfWhatCanBeListed(t *testing.T) {
	n, other := newMixedNode(t)
	id := n.take()
	n.app.Keep = retention.Policy{Last: 1}
	other.Fault("Snapshots", 1, errors.New("boom"))
	sets, err := n.Sets(t.Context(), "app")
	if err == nil || len(sets) != 1 || sets[0].ID != id || sets[0].Complete {
		t.Errorf("%+v, %v; want %s with a member missing, and the error", sets, err, id)
	}
	other.Fault("Snapshots", 1, errors.New("boom"))
	if s, err := n.Set(t.Context(), id); err == nil || s.ID != id {
		t.Errorf("%+v, %v", s, err)
	}
	other.Fault("Snapshots", 1, errors.New("boom"))
	if _, err := n.PlanPrune(t.Context(), n.app, true); !errors.Is(err, engine.ErrCareful) {
		t.Errorf("%v, want ErrCareful", err)
	}
}
