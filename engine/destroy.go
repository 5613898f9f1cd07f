package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// destroy removes whole sets. All members are unsealed before the first is destroyed: when the process dies in between, the
// next run knows the rest as left over. The manifest goes in between, so none is left without its set. Members that are not
// what was sealed may be somebody else's by now: they stay.
func (e *Engine) destroy(ctx context.Context, sets ...snapset.Set) error {
	var snaps []driver.Snapshot
	var mixed []snapset.Set
	for _, s := range sets {
		s.Snapshots = sound(ctx, s)
		if kinds(s.Snapshots) > 1 {
			mixed = append(mixed, s)
			continue
		}
		snaps = append(snaps, s.Snapshots...)
	}
	err := e.eachKind(snaps, func(d driver.Driver, its []driver.Snapshot) error { return d.Unseal(ctx, its...) })
	if err != nil {
		return err
	}
	for _, s := range mixed {
		if err := e.unsealMixed(ctx, s); err != nil {
			return err
		}
		snaps = append(snaps, s.Snapshots...)
	}
	for _, s := range sets {
		if err := e.Store.Remove(s.ID); err != nil {
			return err
		}
	}
	var errs []error
	err = e.eachKind(snaps, func(d driver.Driver, its []driver.Snapshot) error {
		errs = append(errs, d.Destroy(ctx, its...)) // one storage that is in trouble does not keep the others full
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func sound(ctx context.Context, s snapset.Set) []driver.Snapshot {
	var found []driver.Snapshot
	for _, m := range s.Snapshots {
		if m.Fault != "" {
			zerolog.Ctx(ctx).Warn().Str("snapshot", m.Name).Msg("left alone, since it " + m.Fault)
			continue
		}
		found = append(found, m)
	}
	return found
}

func kinds(snaps []driver.Snapshot) int {
	var seen []string
	for _, s := range snaps {
		if !slices.Contains(seen, s.Dataset.Kind) {
			seen = append(seen, s.Dataset.Kind)
		}
	}
	return len(seen)
}

// unsealMixed unseals a set that lies on several storages. Each storage refuses by itself (one of its members is in use, say);
// then what the others had unsealed is sealed again, and the set stays whole.
func (e *Engine) unsealMixed(ctx context.Context, s snapset.Set) error {
	var unsealed []driver.Snapshot
	err := e.eachKind(s.Snapshots, func(d driver.Driver, its []driver.Snapshot) error {
		if err := d.Unseal(ctx, its...); err != nil {
			return err
		}
		unsealed = append(unsealed, its...)
		return nil
	})
	if err == nil || !s.Complete {
		return err
	}
	again := e.eachKind(unsealed, func(d driver.Driver, its []driver.Snapshot) error {
		return d.Seal(context.WithoutCancel(ctx), string(s.Manifest.Consistency), its...)
	})
	if again != nil {
		again = fmt.Errorf("seal what had been unsealed of %s: %w", s.ID, again)
	}
	return errors.Join(err, again)
}
