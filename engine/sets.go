package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// Sets lists the sets of app on this host, oldest first, complete or not; of every app when app is empty. With an error come
// those that were found all the same: others may be missing, and of these, members.
func (e *Engine) Sets(ctx context.Context, app string) ([]snapset.Set, error) {
	var all []driver.Snapshot
	var failed []error
	for _, d := range e.Drivers {
		snaps, err := d.Snapshots(ctx)
		if err != nil {
			failed = append(failed, fmt.Errorf("list %s snapshots: %w", d.Kind(), err))
		}
		for _, s := range snaps {
			if app == "" || s.Set.App() == app {
				all = append(all, s)
			}
		}
	}
	return snapset.Assemble(all, e.Store.ReadAll(snapset.IDs(all))), errors.Join(failed...)
}

// Set finds one set. ErrNoSet when there is none. An error of Sets comes with the set, if that was found.
func (e *Engine) Set(ctx context.Context, id driver.SetID) (snapset.Set, error) {
	sets, err := e.Sets(ctx, id.App())
	i := slices.IndexFunc(sets, func(s snapset.Set) bool { return s.ID == id })
	switch {
	case i >= 0:
		return sets[i], err
	case err != nil:
		return snapset.Set{}, err
	}
	return snapset.Set{}, fmt.Errorf("%s: %w", id, ErrNoSet)
}

// Pin keeps a set from being pruned or deleted until Unpin takes the reason back.
func (e *Engine) Pin(ctx context.Context, id driver.SetID, reason string) error {
	return e.change(ctx, id, func(s snapset.Set) error {
		if !s.Complete {
			return fmt.Errorf("pin %s: %w: it is not complete: %v", id, ErrRefused, s.Manifest.Faults)
		}
		return e.each(s, func(d driver.Driver, m driver.Snapshot) error { return d.Pin(ctx, m, reason) })
	})
}

// Unpin takes a reason back. It is an error when the set was not pinned for it.
func (e *Engine) Unpin(ctx context.Context, id driver.SetID, reason string) error {
	return e.change(ctx, id, func(s snapset.Set) error {
		target, base := driver.BaseOf(reason)
		if !slices.Contains(s.Manifest.Pins, reason) && !(base && slices.Contains(s.Manifest.Bases, target)) {
			return fmt.Errorf("unpin %s: %w: it is not pinned for %q, but for %q", id, ErrRefused, reason, s.Manifest.Pins)
		}
		return e.each(s, func(d driver.Driver, m driver.Snapshot) error { return d.Unpin(ctx, m, reason) })
	})
}

// Delete destroys one set, complete or not, unless it is pinned or the newest complete set of its app. One that was taken while
// the clock was ahead is the newest until that time comes, and keeps everything from being pruned: it may go if there is another.
func (e *Engine) Delete(ctx context.Context, id driver.SetID) error {
	return e.locked(ctx, id.App(), func(*state.Lock) error {
		var s snapset.Set
		sets, err := e.Sets(ctx, id.App())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(sets, func(s snapset.Set) bool { return s.ID == id })
		if i < 0 {
			return fmt.Errorf("delete %s: %w", id, ErrNoSet)
		}
		now := e.Now()
		goes := func(pin string) bool { return driver.IsUndo(pin) || expired(pin, now) }
		if slices.ContainsFunc(sets[i].Manifest.Pins, func(pin string) bool { return !goes(pin) }) {
			return fmt.Errorf("delete %s: %w for %q", id, ErrPinned, sets[i].Manifest.Pins)
		}
		if bases := sets[i].Manifest.Bases; len(bases) > 0 {
			return fmt.Errorf("delete %s: %w: the next increments for the targets %q build on it", id, ErrRefused, bases)
		}
		if newest, ok := newestComplete(sets); ok && newest.ID == id && !e.supersededAhead(sets) && !undoBesideOthers(sets, i) {
			return fmt.Errorf("delete %s: %w: it is the newest complete set of %s", id, ErrRefused, id.App())
		}
		if !slices.ContainsFunc(sets[i].Snapshots, func(m driver.Snapshot) bool { return m.Fault == "" }) {
			return fmt.Errorf("delete %s: %w: none of its members is as it was sealed; look at them and remove them by hand", id, ErrRefused)
		}
		if j, err := restore.Read(e.Store.Dir, id.App()); err == nil && j != nil && j.Undo == id {
			return fmt.Errorf("delete %s: %w: that of %s, and this set holds what it replaces", id, restore.ErrUnfinished, j.Set)
		}
		if err := e.unpinThose(ctx, sets[i], goes); err != nil {
			return fmt.Errorf("delete %s: %w", id, err)
		}
		if s, err = e.Set(ctx, id); err != nil {
			return err
		}
		return mountRecordsIn(e.RunDir).stays(id, false, e.destroy(ctx, s))
	})
}

// unpinThose takes back the pins of a set that are meant.
func (e *Engine) unpinThose(ctx context.Context, s snapset.Set, meant func(pin string) bool) error {
	for _, pin := range s.Manifest.Pins {
		if !meant(pin) {
			continue
		}
		if err := e.each(s, func(d driver.Driver, m driver.Snapshot) error { return d.Unpin(ctx, m, pin) }); err != nil {
			return err
		}
	}
	return nil
}

// undoBesideOthers reports whether a set is what a restore replaced, and not the only complete one.
func undoBesideOthers(sets []snapset.Set, i int) bool {
	return slices.ContainsFunc(sets[i].Manifest.Pins, driver.IsUndo) &&
		slices.ContainsFunc(sets, func(s snapset.Set) bool { return s.Complete && s.ID != sets[i].ID })
}

// supersededAhead reports whether the newest complete set is of a time to come, and there is another one.
func (e *Engine) supersededAhead(sets []snapset.Set) bool {
	complete := 0
	for _, s := range sets {
		if s.Complete {
			complete++
		}
	}
	newest, _ := newestComplete(sets)
	return complete > 1 && newest.ID.Time().After(e.Now().Add(clockSlack))
}

func newestComplete(sets []snapset.Set) (snapset.Set, bool) {
	for _, s := range slices.Backward(sets) {
		if s.Complete {
			return s, true
		}
	}
	return snapset.Set{}, false
}

func (e *Engine) change(ctx context.Context, id driver.SetID, fn func(snapset.Set) error) error {
	return e.locked(ctx, id.App(), func(*state.Lock) error {
		s, err := e.Set(ctx, id)
		if err != nil {
			return err
		}
		return fn(s)
	})
}

func (e *Engine) each(s snapset.Set, fn func(driver.Driver, driver.Snapshot) error) error {
	var errs []error
	for _, m := range s.Snapshots {
		d, err := e.driver(m.Dataset.Kind)
		if err == nil {
			err = fn(d, m)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (e *Engine) driver(kind string) (driver.Driver, error) {
	for _, d := range e.Drivers {
		if d.Kind() == kind {
			return d, nil
		}
	}
	return nil, fmt.Errorf("no driver for %q", kind)
}

// eachKind calls fn once for each kind of storage that the snapshots lie on, in the order of the engine's drivers.
func (e *Engine) eachKind(snaps []driver.Snapshot, fn func(driver.Driver, []driver.Snapshot) error) error {
	left := len(snaps)
	for _, d := range e.Drivers {
		var its []driver.Snapshot
		for _, s := range snaps {
			if s.Dataset.Kind == d.Kind() {
				its = append(its, s)
			}
		}
		left -= len(its)
		if len(its) == 0 {
			continue
		}
		if err := fn(d, its); err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("%d snapshots are of a kind that no driver knows", left)
	}
	return nil
}
