package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Destroy implements driver.Pruner. Datasets that were there for their last snapshots alone go with them.
func (d *Driver) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	err := d.kept.Destroy(ctx, s...)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, d.tidy(ctx, s))
}

// Destroy removes snapshots. Those of one dataset go together, each batch after a look at what it is. None of -r, -R
// and -f is ever given to `zfs destroy`: what depends on a snapshot keeps it.
func (k *kept) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b driver.Snapshot) int { return cmp.Compare(a.Dataset.Name, b.Dataset.Name) })
	return k.pace.Destroy(ctx, s, k.destroySome)
}

// destroySome destroys one batch.
func (k *kept) destroySome(ctx context.Context, s []driver.Snapshot) error {
	f, err := k.free(ctx, s)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	defer f.release()
	var failed []error
	for _, r := range f.stay {
		failed = append(failed, fmt.Errorf("destroy %s: %w", r.snapshot.Name, r.why))
	}
	var byDataset [][]seen
	for i, c := range f.free {
		if i == 0 || f.free[i-1].dataset != c.dataset {
			byDataset = append(byDataset, nil)
		}
		last := &byDataset[len(byDataset)-1]
		*last = append(*last, c)
	}
	err = inParallel(byDataset, 1, func(of [][]seen) error { return errors.Join(destroy(ctx, of[0])...) })
	return errors.Join(append(failed, err)...)
}

// destroy removes snapshots of one dataset. One that turns out to be in use keeps all that the command names, so they are
// then tried one by one.
func destroy(ctx context.Context, rows []seen) (failed []error) {
	var plain, cloned []seen
	for _, r := range rows {
		if len(r.clones) == 0 {
			plain = append(plain, r)
		} else {
			cloned = append(cloned, r)
		}
	}
	return append(destroyBy(ctx, plain, "zfs", "destroy"), destroyBy(ctx, cloned, "zfs", "destroy", "-d")...)
}

// destroyBy destroys by that command. With -d, one that has clones goes with the last of them (zfs-destroy(8)).
func destroyBy(ctx context.Context, rows []seen, argv ...string) (failed []error) {
	if len(rows) == 0 {
		return nil
	}
	var snaps []string
	for _, r := range rows {
		snaps = append(snaps, r.snap)
	}
	name := rows[0].dataset + "@" + strings.Join(snaps, ",")
	fault.Point("before destroy")
	_, err := run(ctx, append(argv, name)...)
	fault.Point("after destroy")
	switch {
	case err == nil:
	case errors.Is(err, driver.ErrBusy) && len(rows) > 1:
		for i := range rows {
			failed = append(failed, destroyBy(ctx, rows[i:i+1], argv...)...)
		}
	case errors.Is(err, driver.ErrNotFound): // somebody else was faster
	default:
		failed = append(failed, fmt.Errorf("destroy %s: %w", name, err))
	}
	return failed
}
