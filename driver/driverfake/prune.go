package driverfake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// Snapshots implements driver.Lister.
func (d *core) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	var args []string
	for _, one := range ds {
		args = append(args, one.Name)
	}
	if err := d.enter(ctx, "Snapshots", args...); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []driver.Snapshot
	for _, s := range d.snaps {
		if s.intent || s.foreign || len(ds) > 0 && !slices.Contains(ds, s.Dataset) {
			continue
		}
		out = append(out, s.copy())
	}
	slices.SortFunc(out, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order))
	})
	return out, nil
}

// ours is the snapshot that s means, or why it may not be touched. d.mu is held.
func (d *core) ours(s driver.Snapshot) (*snapshot, error) {
	have := d.snaps[s.Name]
	switch {
	case !d.owns(s.Name):
		return nil, fmt.Errorf("it is not kept here: %w", driver.ErrForeign)
	case have == nil || have.intent:
		return nil, driver.ErrNotFound
	case have.foreign:
		return nil, driver.ErrForeign
	case have.GUID != s.GUID || have.Set != s.Set:
		return nil, fmt.Errorf("it is another snapshot now: %w", driver.ErrForeign)
	case have.Fault != "":
		return nil, fmt.Errorf("it %s: %w", have.Fault, driver.ErrForeign)
	}
	return have, nil
}

// Unseal implements driver.Pruner.
func (d *core) Unseal(ctx context.Context, s ...driver.Snapshot) error {
	if err := d.enter(ctx, "Unseal", nameAll(s)...); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed []error
	stays := map[driver.SetID]bool{}
	for _, one := range s {
		have, err := d.ours(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = have.free()
		}
		if err != nil {
			stays[one.Set] = true
			failed = append(failed, fmt.Errorf("unseal %s: %w", one.Name, err))
		}
	}
	for _, one := range s {
		have := d.snaps[one.Name]
		if have == nil || have.intent || stays[one.Set] {
			continue
		}
		d.violations.unseal(d, have)
		if err := d.effect("unseal", one.Name, func() { have.Sealed = false }); err != nil {
			return errors.Join(append(failed, err)...)
		}
	}
	return errors.Join(failed...)
}

// Destroy implements driver.Pruner.
func (d *core) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	if err := d.enter(ctx, "Destroy", nameAll(s)...); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed []error
	for _, one := range s {
		if err := d.destroy(one); err != nil {
			failed = append(failed, fmt.Errorf("destroy %s: %w", one.Name, err))
		}
	}
	return errors.Join(failed...)
}

// free is ErrBusy for a snapshot that is pinned or mounted.
func (s *snapshot) free() error {
	switch {
	case len(s.Pins) > 0:
		return fmt.Errorf("pinned by %q: %w", s.Pins, driver.ErrBusy)
	case s.mounts > 0:
		return fmt.Errorf("mounted: %w", driver.ErrBusy)
	case s.streams > 0:
		return fmt.Errorf("a stream of it, or on top of it, is under way: %w", driver.ErrBusy)
	}
	return nil
}

func (d *core) destroy(s driver.Snapshot) error {
	have, err := d.ours(s)
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	d.violations.destroy(s, have, err)
	if err == nil {
		err = have.free()
	}
	if err != nil {
		return err
	}
	return d.effect("destroy", s.Name, func() { delete(d.snaps, s.Name) })
}

// Pin implements driver.Pruner.
func (d *core) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	return d.setPins(ctx, "Pin", s, reason, func(pins []string) []string {
		at, found := slices.BinarySearch(pins, reason)
		if found {
			return pins
		}
		return slices.Insert(pins, at, reason)
	})
}

// Unpin implements driver.Pruner.
func (d *core) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	return d.setPins(ctx, "Unpin", s, reason, func(pins []string) []string {
		left := slices.DeleteFunc(pins, func(have string) bool { return have == reason })
		if len(left) == 0 {
			return nil // as one that was never pinned
		}
		return left
	})
}

func (d *core) setPins(
	ctx context.Context, method string, s driver.Snapshot, reason string, change func([]string) []string,
) error {
	if err := d.enter(ctx, method, s.Name, reason); err != nil {
		return err
	}
	if err := driver.CheckPin(reason); err != nil {
		return fmt.Errorf("%s %s: %w", method, s.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, err := d.ours(s)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, s.Name, err)
	}
	what := map[string]string{"Pin": "pin", "Unpin": "unpin"}[method]
	return d.effect(what, s.Name, func() { have.Pins = change(slices.Clone(have.Pins)) })
}
