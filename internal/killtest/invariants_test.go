package killtest

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/snapset"
)

// kept is what must not get lost while a run comes to nothing: taken before it.
type kept struct {
	pinned, newest string
	loose          int // complete sets that are not pinned
}

func keptOf(sets []snapset.Manifest) (k kept) {
	for _, s := range complete(sets) {
		if len(s.Pins) > 0 {
			k.pinned = string(s.ID)
		} else {
			k.loose++
		}
		k.newest = max(k.newest, string(s.ID)) // of one app: as text in the order of time
	}
	return k
}

// complete are the complete ones of the sets.
func complete(sets []snapset.Manifest) []snapset.Manifest {
	return slices.DeleteFunc(slices.Clone(sets), func(s snapset.Manifest) bool { return !s.Complete })
}

// checkKept is I8: what the policy keeps of the history is still there and complete.
func checkKept(t *testing.T, before kept, sets []snapset.Manifest) {
	t.Helper()
	whole := map[string]bool{}
	for _, s := range complete(sets) {
		whole[string(s.ID)] = true
	}
	for _, id := range []string{before.pinned, before.newest} {
		if id != "" && !whole[id] {
			t.Errorf("I8: set %s is gone, or not complete any more", id)
		}
	}
	if now := keptOf(sets); now.loose < min(2, before.loose) {
		t.Errorf("I8: %d sets that are not pinned, of %d; the policy keeps 2", now.loose, before.loose)
	}
}

// checkSettled is what has to hold after a run that was not disturbed, whatever happened to the one before it.
func (a *app) checkSettled(t *testing.T, before kept) {
	t.Helper()
	sets := a.list(t)
	checkKept(t, before, sets)
	things := a.storage.things(t)
	ids := map[string]bool{}
	for _, s := range sets {
		ids[string(s.ID)] = true
		checkWhole(t, s, things)
		a.checkOrder(t, s)
	}
	a.checkForeign(t, things)
	a.checkNoLeftOvers(t, ids, things)
	a.checkNothingHeld(t)
}

// checkWhole is I2 for one set: its members are what the manifest names, by the word of the storage's tools.
func checkWhole(t *testing.T, s snapset.Manifest, things map[string]thing) {
	t.Helper()
	if !s.Complete || len(s.Members) != 3 {
		t.Errorf("I2: set %s has %d members and is incomplete: %q", s.ID, len(s.Members), s.Faults)
	}
	for _, m := range s.Members {
		want := thing{m.GUID, true, string(s.ID)}
		if got := things[m.Snapshot]; got != want {
			t.Errorf("I2: %s is %+v, want %+v", m.Snapshot, got, want)
		}
	}
}

// checkOrder is that the set holds one instant: who writes a number to one volume and then to another is never seen ahead
// in the second, nor further behind.
func (a *app) checkOrder(t *testing.T, s snapset.Manifest) {
	t.Helper()
	if s.Consistency != snapset.Frozen && s.Consistency != snapset.Atomic {
		t.Errorf("set %s is %s", s.ID, s.Consistency)
	}
	if len(s.Members) != 3 { // see checkWhole
		return
	}
	var snapshots []string
	for _, m := range s.Members {
		snapshots = append(snapshots, m.Snapshot)
	}
	found, done := a.storage.open(t, snapshots)
	defer done()
	dirs := map[string]string{}
	for i, m := range s.Members {
		dirs[strings.TrimPrefix(m.Volume, a.name+"-")] = filepath.Join(found[i], m.Path)
	}
	for _, w := range []struct{ name, from, to string }{{"one", "a", "b"}, {"two", "b", "c"}} {
		first := lastNumber(t, filepath.Join(dirs[w.from], w.name+"-a"))
		second := lastNumber(t, filepath.Join(dirs[w.to], w.name+"-b"))
		if ahead := first - second; ahead != 0 && ahead != 1 {
			t.Errorf("set %s: writer %s is at %d in volume %s and at %d in %s", s.ID, w.name, first, w.from, second, w.to)
		}
	}
}

// lastNumber of a file with one a line; a line that is being written does not count.
func lastNumber(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) < 2 {
		return 0
	}
	n, err := strconv.Atoi(string(lines[len(lines)-2]))
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return n
}

// checkForeign is I4: what others made is there, and as it was.
func (a *app) checkForeign(t *testing.T, things map[string]thing) {
	t.Helper()
	now := maps.Clone(a.foreign)
	for name := range now {
		now[name] = things[name]
	}
	if diff := cmp.Diff(a.foreign, now); diff != "" {
		t.Errorf("I4: what others made (-before +now):\n%s", diff)
	}
}

// checkNoLeftOvers is the other half of I2: nothing lies about but the sets that are listed.
func (a *app) checkNoLeftOvers(t *testing.T, ids map[string]bool, things map[string]thing) {
	t.Helper()
	for name, one := range things {
		if _, foreign := a.foreign[name]; !foreign && strings.HasPrefix(one.Set, a.name+"-") && !ids[one.Set] {
			t.Errorf("I2: left over: %s", name)
		}
	}
	for _, name := range a.storage.litter(t, a, ids) {
		t.Errorf("I2: left over: %s", name)
	}
	allowed := []string{a.name + ".lock"}
	for id := range ids {
		allowed = append(allowed, id+".json")
	}
	for _, path := range files(t, a.state, a.run) {
		// A report is written without the lock, so what a kill leaves of it cannot be told from what is being written.
		report := filepath.Base(filepath.Dir(path)) == "last-run"
		if !report && !slices.Contains(allowed, filepath.Base(path)) {
			t.Errorf("I2: left over: %s", path)
		}
	}
}

func files(t *testing.T, dirs ...string) (found []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, path)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return found
}

// checkNothingHeld is I1 by Docker's word: all runs, and what others had paused is paused still.
func (a *app) checkNothingHeld(t *testing.T) {
	t.Helper()
	got := map[string]string{}
	for _, part := range []string{"one", "two", "reader", "resting"} {
		got[part] = a.inspect(t, part).State
	}
	want := map[string]string{"one": "running", "two": "running", "reader": "running", "resting": "paused"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("I1: containers (-want +got):\n%s", diff)
	}
	if pids := a.deadMen(t); len(pids) > 0 {
		t.Errorf("dead-men are left: %v", pids)
	}
}
