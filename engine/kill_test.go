package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
)

// I2, I4, I8: the process dies after each effect in turn; the next run leaves whole sets and nothing else.
func TestKilledAfterEachEffect(t *testing.T) {
	points := 0
	for effect := 0; ; effect++ {
		done := false
		t.Run(fmt.Sprint(effect), func(t *testing.T) {
			n := newNode(t)
			foreign := n.storage.AddForeign(driver.Dataset{Kind: driverfake.Kind, Name: n.paths[0]}, "volsnap-app-20200101T000000.000Z")
			first, second, third := n.take(), n.take(), n.take()
			if err := n.Pin(t.Context(), first, "mine"); err != nil {
				t.Fatal(err)
			}
			n.storage.KillAt(effect)
			_, err := n.Run(t.Context(), n.app, "")
			done = !n.storage.Killed()
			if !done && !errors.Is(err, driverfake.ErrKilled) {
				t.Errorf("run: %v; want it to die", err)
			}
			n.storage.Restart()
			if !n.has(first) || !n.has(third) {
				t.Errorf("right after the kill: %q; the pinned %s or the newest %s is gone", n.ids(), first, third)
			}
			r, err := n.Run(t.Context(), n.app, "")
			if err != nil || !r.OK {
				t.Errorf("next run: %+v, %v", r, err)
			}
			n.sound()
			if n.has(second) {
				t.Errorf("%s is still there, the policy keeps two and the pinned", second)
			}
			if got := len(n.ids()); got != 3 {
				t.Errorf("%d sets: %q; want the pinned and the last two", got, n.ids())
			}
			if diff := cmp.Diff([]string{foreign.Name}, n.storage.Foreign()); diff != "" {
				t.Errorf("foreign snapshots (-want +got):\n%s", diff)
			}
		})
		if done || t.Failed() {
			break
		}
		points++
	}
	t.Logf("killed at %d points", points)
}

// A call that fails is an error of the run, and neither loses a set nor leaves half of one.
func TestEachCallFails(t *testing.T) {
	probe := newNode(t)
	probe.take()
	probe.take()
	probe.take()
	before := len(probe.storage.Calls())
	if _, err := probe.Run(t.Context(), probe.app, ""); err != nil {
		t.Fatal(err)
	}
	calls := probe.storage.Calls()[before:]
	seen := map[string]int{}
	boom := errors.New("boom")
	for _, call := range calls {
		seen[call.Method]++
		nth := seen[call.Method]
		t.Run(fmt.Sprint(call.Method, nth), func(t *testing.T) {
			n := newNode(t)
			kept := []driver.SetID{n.take(), n.take(), n.take()}
			n.storage.Fault(call.Method, nth, boom)
			r, err := n.Run(t.Context(), n.app, "")
			if r.OK != (err == nil) || err != nil && r.Error == "" {
				t.Errorf("report %+v does not agree with error %v", r, err)
			}
			// What is destroyed is tried again, one by one. The first listing is for what unfinished runs have left, which can wait.
			tolerated := map[string]bool{"Close": true, "Unseal": true, "Destroy": true, "Snapshots": nth == 1}
			if !errors.Is(err, boom) && !(err == nil && tolerated[call.Method]) {
				t.Errorf("run: %v; want the fault", err)
			}
			if !n.has(kept[2]) || r.Set == "" && !slices.Contains(n.ids(), kept[1]) {
				t.Errorf("lost a set: %q of %q", n.ids(), kept)
			}
			n.storage.Restart()
			if _, err := n.Run(t.Context(), n.app, ""); err != nil {
				t.Errorf("next run: %v", err)
			}
			n.sound()
			if got := len(n.ids()); got != 2 {
				t.Errorf("%d sets: %q; want two", got, n.ids())
			}
		})
	}
	if len(calls) < 8 {
		t.Errorf("only %d calls were tried", len(calls))
	}
}

func TestSetsAreFoundWithoutTheStateDirectory(t *testing.T) {
	n := newNode(t)
	m, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{Label: "x", Pin: "why"})
	if err != nil {
		t.Fatal(err)
	}
	n.Store.Dir = t.TempDir()
	s, err := n.Set(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	m.Label = "" // detail
	for i := range m.Members {
		m.Members[i].OrderedBy = ""
	}
	if diff := cmp.Diff(m, s.Manifest); diff != "" {
		t.Fatalf("manifest made from the snapshots (-want +got):\n%s", diff)
	}
}
