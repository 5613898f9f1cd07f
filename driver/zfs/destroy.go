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

// Destroy implements driver.Pruner. Those of one dataset go together, each batch after a look at what it is. None of -r, -R
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
	var snaps []string
	for _, r := range rows {
		snaps = append(snaps, r.snap)
	}
	name := rows[0].dataset + "@" + strings.Join(snaps, ",")
	fault.Point("before destroy")
	_, err := run(ctx, "zfs", "destroy", name)
	fault.Point("after destroy")
	switch {
	case err == nil:
	case errors.Is(err, driver.ErrBusy) && len(rows) > 1:
		for i := range rows {
			failed = append(failed, destroy(ctx, rows[i:i+1])...)
		}
	case errors.Is(err, driver.ErrNotFound): // somebody else was faster
	default:
		failed = append(failed, fmt.Errorf("destroy %s: %w", name, err))
	}
	return failed
}
