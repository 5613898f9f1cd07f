package btrfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Seal implements driver.Taker.
func (k kept) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	return k.update(ctx, "seal", s, func(p *spot) []record {
		sealed, beneath := p.record, p.record
		sealed.Sealed, sealed.Consistency = true, consistency
		sealed.GUID = p.asked.GUID
		if !sealed.isReplica() { // whose record has had it since before it came
			sealed.Taken = p.asked.Taken.UTC()
		}
		if p.record.Sealed || len(p.record.Pins) == 0 {
			return []record{sealed}
		}
		beneath.Pins = nil // they must not come back with it when the sealed one is unpinned and unsealed
		return []record{sealed, beneath}
	})
}

// Pin implements driver.Pruner.
func (k kept) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.setPins(ctx, "pin", s, reason, func(pins []string) []string {
		at, found := slices.BinarySearch(pins, reason)
		if found {
			return pins
		}
		return slices.Insert(pins, at, reason)
	})
}

// Unpin implements driver.Pruner.
func (k kept) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.setPins(ctx, "unpin", s, reason, func(pins []string) []string {
		return slices.DeleteFunc(pins, func(have string) bool { return have == reason })
	})
}

func (r realm) setPins(
	ctx context.Context, verb string, s driver.Snapshot, reason string, change func([]string) []string,
) error {
	if err := driver.CheckPin(reason); err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.Name, err)
	}
	return r.update(ctx, verb, []driver.Snapshot{s}, func(p *spot) []record {
		p.record.Pins = change(p.record.Pins)
		return []record{p.record}
	})
}

// update finds all of the snapshots, asks change what records they are to have, and writes those. On error of any nothing
// was written.
func (r realm) update(ctx context.Context, verb string, s []driver.Snapshot, change func(*spot) []record) error {
	st, err := r.lockStores(ctx, s)
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
func (k kept) Unseal(ctx context.Context, s ...driver.Snapshot) error {
	st, err := k.lockStores(ctx, s)
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
			err = p.free(busy)
			closeAll(p.dir)
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

// free is ErrBusy for a snapshot that is pinned, mounted, or held. The store is locked, so it stays free until that ends.
func (p *spot) free(busy func(place) bool) error {
	if len(p.record.Pins) > 0 {
		return fmt.Errorf("pinned by %q: %w", p.record.Pins, driver.ErrBusy)
	}
	if busy(p.at) {
		return fmt.Errorf("mounted: %w", driver.ErrBusy)
	}
	alone, err := tryLock(p.dir, unix.LOCK_EX)
	if err == nil && !alone {
		err = fmt.Errorf("a stream of it, or on top of it, is under way: %w", driver.ErrBusy)
	}
	return err
}

// hold keeps a snapshot from being unsealed and destroyed until its directory is closed: the open file carries a lock that free
// asks for. So what a killed process held is free again. The store is locked.
func (p *spot) hold() error {
	ok, err := tryLock(p.dir, unix.LOCK_SH)
	if err == nil && !ok {
		err = fmt.Errorf("hold %s: %w", p.dir.Name(), driver.ErrBusy)
	}
	return err
}
