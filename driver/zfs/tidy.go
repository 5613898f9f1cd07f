package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Destroy implements driver.Pruner. With the last replica of a dataset its file system goes, so that all of the dataset can come
// again.
func (r *Replicas) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	err := r.kept.Destroy(ctx, s...)
	if ctx.Err() != nil || r.host.awake(r.place.name) != nil {
		return err
	}
	return errors.Join(err, r.tidy(ctx, s))
}

// tidy destroys the file systems of replicas that have none any more, and nothing else in them.
func (r *Replicas) tidy(ctx context.Context, of []driver.Snapshot) error {
	var names []string
	for _, s := range of {
		if r.realm.could(s) == nil && !slices.Contains(names, s.Dataset.Name) {
			names = append(names, s.Dataset.Name)
		}
	}
	var failed []error
	for _, name := range names {
		if err := r.destroyEmptied(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("destroy %s, which is empty: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

func (r *Replicas) destroyEmptied(ctx context.Context, name string) error {
	busy, release, err := r.uses.Claim(arrivalIn(name))
	if err != nil || busy[arrivalIn(name)] {
		return err
	}
	defer release()
	v, err := r.place.below(ctx, "1", name)
	if err != nil {
		return err
	}
	if c := v.children[name]; c == nil || c.intent == nil || c.token != "" {
		return nil
	}
	return retire(ctx, r.place, name)
}

// destroyFileSystem destroys one in which there is nothing: `zfs destroy` without -r refuses any other.
func destroyFileSystem(ctx context.Context, name string) error {
	fault.Point("before destroy of a file system")
	_, err := run(ctx, "zfs", "destroy", name)
	fault.Point("after destroy of a file system")
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}
