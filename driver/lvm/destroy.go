package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Destroy implements driver.Pruner. Records are tags of what is destroyed, and go with it.
func (k kept) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	return k.pace.Destroy(ctx, s, k.destroySome)
}

// destroySome destroys one batch.
func (r realm) destroySome(ctx context.Context, batch []driver.Snapshot) error {
	unlock, err := lock(ctx)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	defer unlock()
	w, err := r.look(ctx, batch)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	these, failed, letGo := w.claim(batch)
	defer letGo()
	for i, err := range failed {
		if err != nil {
			failed[i] = fmt.Errorf("destroy %w", err)
		}
	}
	for vg, in := range byGroup(these) {
		if err := remove(ctx, vg, in); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// remove removes snapshots of one group. LVM itself refuses one whose device was opened since we looked, and goes on with
// the others; one that was renamed is removed all the same, since it has the UUID.
func remove(ctx context.Context, vg string, these []found) error {
	for _, pool := range pools(these) {
		if _, err := settle(ctx, vg, pool); err != nil {
			return fmt.Errorf("destroy %s: %w", listed(these), err)
		}
	}
	fault.Point("before destroy")
	err := removeVolumes(ctx, vg, these...)
	fault.Point("after destroy")
	if err != nil {
		return fmt.Errorf("destroy %s: %w", listed(these), err)
	}
	return nil
}

// pools are those that hold an unsealed one: what a killed run left.
func pools(these []found) []string {
	var out []string
	for _, f := range these {
		if !f.snap.Sealed && !slices.Contains(out, f.Pool) {
			out = append(out, f.Pool)
		}
	}
	return out
}

// listed names the first of several.
func listed(these []found) string {
	if len(these) == 1 {
		return these[0].String()
	}
	return fmt.Sprintf("%s and %d more", these[0], len(these)-1)
}
