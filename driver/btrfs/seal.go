package btrfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Seal implements driver.Taker.
func (d *Driver) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	return update(ctx, "seal", s, func(p *spot) []record {
		sealed, beneath := p.record, p.record
		sealed.Sealed, sealed.Consistency = true, consistency
		sealed.GUID, sealed.Taken = p.asked.GUID, p.asked.Taken.UTC()
		if p.record.Sealed || len(p.record.Pins) == 0 {
			return []record{sealed}
		}
		beneath.Pins = nil // they must not come back with it when the sealed one is unpinned and unsealed
		return []record{sealed, beneath}
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
	return update(ctx, verb, []driver.Snapshot{s}, func(p *spot) []record {
		p.record.Pins = change(p.record.Pins)
		return []record{p.record}
	})
}

// update finds all of the snapshots, asks change what records they are to have, and writes those. On error of any nothing
// was written.
func update(ctx context.Context, verb string, s []driver.Snapshot, change func(*spot) []record) error {
	st, err := lockStores(ctx, s)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, classify(err))
	}
	defer st.close()
	var all []write
	for _, one := range s {
		p, err := st.find(one)
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, one.Name, classify(err))
		}
		closeAll(p.dir)
		for _, r := range change(p) {
			all = append(all, write{st.keyOpen(one), r})
		}
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
	busy, err := mountedSomewhere()
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	var failed []error
	stays := map[driver.SetID]bool{}
	for _, one := range s {
		p, err := st.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			closeAll(p.dir)
			err = p.free(busy)
		}
		if err != nil {
			stays[one.Set] = true
			failed = append(failed, fmt.Errorf("unseal %s: %w", one.Name, classify(err)))
		}
	}
	for _, one := range s {
		if key := st.keyOpen(one); key != nil && !stays[one.Set] {
			fault.Point("before removal of a seal")
			failed = append(failed, remove(key, one.Set.SnapshotName()+sealedExt))
		}
	}
	return errors.Join(append(failed, st.commit())...)
}

// free is ErrBusy for a snapshot that is pinned or mounted.
func (p *spot) free(busy func(place) bool) error {
	if busy(p.at) {
		return fmt.Errorf("mounted: %w", driver.ErrBusy)
	}
	return p.pinned()
}

func (p *spot) pinned() error {
	if len(p.record.Pins) > 0 {
		return fmt.Errorf("pinned by %q: %w", p.record.Pins, driver.ErrBusy)
	}
	return nil
}
