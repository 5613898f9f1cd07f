package driverfake

import (
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// violations is what the code under test should not have done.
type violations struct {
	found      []string
	permitted  map[driver.SetID]bool
	off        bool
	openGroups int
}

// Permit says that an operator asked for this set to go, be it the newest.
func (d *core) Permit(set driver.SetID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.violations.permitted == nil {
		d.violations.permitted = map[driver.SetID]bool{}
	}
	d.violations.permitted[set] = true
}

// Unchecked switches the invariants off, for tests that do by intent what they forbid.
func (d *core) Unchecked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.violations.off = true
}

// Violations are the invariants broken so far; an open group or mount counts as one.
func (d *core) Violations() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.violations.off {
		return nil
	}
	out := slices.Clone(d.violations.found)
	if n := d.violations.openGroups; n > 0 && !d.script.killed {
		out = append(out, fmt.Sprintf("%d groups were not closed", n))
	}
	for name, s := range d.snaps {
		if s.mounts > 0 && !d.script.killed {
			out = append(out, name+" is still mounted")
		}
	}
	slices.Sort(out)
	return out
}

func (v *violations) add(format string, args ...any) {
	v.found = append(v.found, fmt.Sprintf(format, args...))
}

// destroy judges an attempt to destroy s; why is the reason for which the storage refuses it.
func (v *violations) destroy(s driver.Snapshot, have *snapshot, why error) {
	switch {
	case errors.Is(why, driver.ErrForeign):
		v.add("tried to destroy %s, which is not volsnap's: %v", s.Name, why)
	case have == nil:
	case len(have.Pins) > 0:
		v.add("tried to destroy %s, which is pinned by %q", s.Name, have.Pins)
	case have.Sealed:
		v.add("destroyed %s, which was still sealed", s.Name)
	}
}

// unseal judges the unsealing of s. d.mu is held.
func (v *violations) unseal(d *core, s *snapshot) {
	if !s.Sealed || v.permitted[s.Set] {
		return
	}
	if newest := d.newestComplete(s.Set.App()); newest == s.Set {
		v.add("unsealed %s, a member of the newest complete set of %s", s.Name, s.Set.App())
	}
}

// newestComplete is the newest set of an app all of whose members are there and sealed. d.mu is held.
func (d *core) newestComplete(app string) driver.SetID {
	sealed := map[driver.SetID]int{}
	var newest driver.SetID
	for _, s := range d.snaps {
		if s.intent || s.foreign || !s.Sealed || s.Fault != "" || s.Set.App() != app {
			continue
		}
		sealed[s.Set]++
		if sealed[s.Set] == s.Of && (newest == "" || s.Set.Time().After(newest.Time())) {
			newest = s.Set
		}
	}
	return newest
}
