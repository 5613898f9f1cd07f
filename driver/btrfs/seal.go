package btrfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// Seal implements driver.Taker.
func (d *Driver) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	return update(ctx, "seal", s, func(p *spot) error {
		p.record.Sealed, p.record.Consistency = true, consistency
		p.record.GUID, p.record.Taken = p.asked.GUID, p.asked.Taken.UTC()
		return nil
	})
}

// Pin implements driver.Pruner.
func (d *Driver) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	return setPins(ctx, "pin", s, reason, func(pins []string) []string {
		at, found := slices.BinarySearch(pins, reason)
		if found {
			return pins
		}
		return slices.Insert(pins, at, reason)
	})
}

// Unpin implements driver.Pruner.
func (d *Driver) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	return setPins(ctx, "unpin", s, reason, func(pins []string) []string {
		return slices.DeleteFunc(pins, func(have string) bool { return have == reason })
	})
}

func setPins(ctx context.Context, verb string, s driver.Snapshot, reason string, change func([]string) []string) error {
	if err := driver.CheckPin(reason); err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.Name, err)
	}
	return update(ctx, verb, []driver.Snapshot{s}, func(p *spot) error {
		p.record.Pins = change(p.record.Pins)
		return nil
	})
}

// update finds all of the snapshots, lets change set their records anew, and writes them; on error none was written.
func update(ctx context.Context, verb string, s []driver.Snapshot, change func(*spot) error) error {
	st, err := lockStores(ctx, s)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, classify(err))
	}
	defer st.close()
	var all []write
	for _, one := range s {
		p, err := st.find(one)
		if err == nil {
			closeAll(p.dir)
			err = change(p)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, one.Name, classify(err))
		}
		all = append(all, write{st.keyOpen(one), p.record})
	}
	if err := st.write(all); err != nil {
		return fmt.Errorf("%s: %w", verb, classify(err))
	}
	return nil
}

// Unseal implements driver.Pruner.
func (d *Driver) Unseal(ctx context.Context, s ...driver.Snapshot) error {
	st, err := lockStores(ctx, s)
	if err != nil {
		return fmt.Errorf("unseal: %w", classify(err))
	}
	defer st.close()
	var failed []error
	stays := map[driver.SetID]bool{}
	all := make([]write, 0, len(s))
	for _, one := range s {
		p, err := st.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			closeAll(p.dir)
			err = p.pinned()
		}
		if err != nil {
			stays[one.Set] = true
			failed = append(failed, fmt.Errorf("unseal %s: %w", one.Name, classify(err)))
			continue
		}
		if p.record.Sealed {
			p.record.Sealed = false
			all = append(all, write{st.keyOpen(one), p.record})
		}
	}
	all = slices.DeleteFunc(all, func(w write) bool { return stays[w.Set] })
	if err := st.write(all); err != nil {
		failed = append(failed, fmt.Errorf("unseal: %w", classify(err)))
	}
	return errors.Join(failed...)
}

func (p *spot) pinned() error {
	if len(p.record.Pins) > 0 {
		return fmt.Errorf("pinned by %q: %w", p.record.Pins, driver.ErrBusy)
	}
	return nil
}
