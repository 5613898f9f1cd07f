package engine_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/retention"
)

// guarded takes a set that is pinned for an hour, and after it so many others that the policy does not keep it.
func (n *node) guarded() (id driver.SetID, until time.Time) {
	n.t.Helper()
	until = n.clock.Add(time.Hour).Truncate(time.Second)
	m, err := n.Snapshot(n.t.Context(), n.app, engine.TakeOptions{Pin: driver.Guard(until)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.take()
	n.take()
	return m.ID, until
}

// A guard's pin keeps its set until its time by the clock, and from then on the policy decides.
func TestGuardExpires(t *testing.T) {
	n := newNode(t)
	id, until := n.guarded()
	n.clock = until.Add(-10 * time.Second)
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) > 0 {
		t.Fatalf("before its time: removed %v, %v", removed, err)
	}
	if err := n.Delete(t.Context(), id); !errors.Is(err, engine.ErrPinned) {
		t.Errorf("delete before its time: %v", err)
	}
	n.clock = until
	if removed, err := n.Prune(t.Context(), n.app, false); err != nil || len(removed) != 1 || removed[0].ID != id {
		t.Fatalf("after its time: removed %v, %v", removed, err)
	}
	n.sound()
}

// Its time having passed, a set stays for any other reason, with its pin.
func TestExpiredGuardIsNoReasonToGo(t *testing.T) {
	n := newNode(t)
	pinned, until := n.guarded()
	if err := n.Pin(t.Context(), pinned, "seen by the auditor"); err != nil {
		t.Fatal(err)
	}
	base, _ := n.guarded()
	if err := n.Pin(t.Context(), base, driver.Base("backup")); err != nil {
		t.Fatal(err)
	}
	newest, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{Pin: driver.Guard(until)})
	if err != nil {
		t.Fatal(err)
	}
	n.app.Keep = retention.Policy{Last: 1}
	n.clock = until.Add(24 * time.Hour)
	if _, err := n.Prune(t.Context(), n.app, false); err != nil {
		t.Fatal(err)
	}
	want := []driver.SetID{pinned, base, newest.ID}
	if got := n.ids(); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	for id, want := range map[driver.SetID]error{pinned: engine.ErrPinned, base: engine.ErrRefused, newest.ID: engine.ErrRefused} {
		if err := n.Delete(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("delete %s: %v, want %v", id, err, want)
		}
	}
	s, err := n.Set(t.Context(), pinned)
	if err != nil || len(s.Manifest.Pins) != 2 {
		t.Errorf("pins %q, %v", s.Manifest.Pins, err)
	}
}

// A clock that is behind the newest set removes nothing, whatever it says of the guard.
func TestGuardWithTheClockBehind(t *testing.T) {
	n := newNode(t)
	id, until := n.guarded()
	n.clock = until.Add(time.Hour)
	n.take()
	n.take()
	n.clock = until.Add(time.Minute)
	removed, err := n.Prune(t.Context(), n.app, true)
	if !errors.Is(err, engine.ErrCareful) || !strings.Contains(err.Error(), "clock") || len(removed) > 0 || !n.has(id) {
		t.Errorf("removed %v, %v", removed, err)
	}
	s, err := n.Set(t.Context(), id)
	if err != nil || len(s.Manifest.Pins) != 1 {
		t.Errorf("pins %q, %v", s.Manifest.Pins, err)
	}
}

func TestDeleteOfAnExpiredGuard(t *testing.T) {
	n := newNode(t)
	id, until := n.guarded()
	n.clock = until
	if err := n.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
	n.sound()
	if n.has(id) {
		t.Error("it is there still")
	}
}

// What merely looks like a guard's pin keeps its set for ever.
func TestNoGuard(t *testing.T) {
	n := newNode(t)
	m, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{Pin: "guard until 2020-01-01"})
	if err != nil {
		t.Fatal(err)
	}
	n.take()
	n.take()
	n.clock = n.clock.Add(1000 * time.Hour)
	if removed, err := n.Prune(t.Context(), n.app, true); err != nil || len(removed) > 0 || !n.has(m.ID) {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// Each call of a prune that takes a guard's pin back fails in turn, and the process dies after each effect in turn: no set is lost but
// the one that goes, and the next prune removes that.
func TestExpiredGuardAndFaults(t *testing.T) {
	tries := []func(n *node){}
	for nth := 1; nth <= 3; nth++ {
		for _, call := range []string{"Unpin", "Unseal", "Destroy"} {
			tries = append(tries, func(n *node) { n.storage.Fault(call, nth, errors.New("boom")) })
		}
	}
	for effect := range 16 {
		tries = append(tries, func(n *node) { n.storage.KillAt(effect) })
	}
	killed := 0
	for i, disturb := range tries {
		n := newNode(t)
		id, until := n.guarded()
		n.clock = until
		disturb(n)
		_, err := n.Prune(t.Context(), n.app, false)
		if n.storage.Killed() {
			killed++
		}
		if n.storage.Killed() && !errors.Is(err, driverfake.ErrKilled) {
			t.Errorf("%d: %v", i, err)
		}
		n.storage.Restart()
		if _, err := n.Prune(t.Context(), n.app, false); err != nil {
			t.Errorf("%d: the next prune: %v", i, err)
		}
		n.sound()
		if got := n.ids(); len(got) != 2 || n.has(id) {
			t.Errorf("%d: left %q", i, got)
		}
	}
	if killed < 3 {
		t.Errorf("killed only %d times", killed)
	}
}
