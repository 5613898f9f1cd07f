package lvm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Discard implements driver.Stager. Whether a stage was written to is told by its files: see sameFiles. By blocks it cannot
// be told, since an unmount writes some. What cannot be compared counts as changed.
func (k kept) Discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	err := k.discard(ctx, st, since)
	if err == nil || errors.Is(err, driver.ErrNotFound) && !errors.Is(err, driver.ErrChanged) {
		return nil
	}
	return fmt.Errorf("discard %s: %w", st.Dataset, classify(err))
}

func (r realm) discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	forget := func() error { return nil }
	if since != nil {
		shut, err := r.unchanged(ctx, st, *since)
		if err != nil {
			return err
		}
		forget = sync.OnceValue(shut)
	}
	err := withStage(ctx, st, func(f found, all []lv) error {
		if forget() != nil { // under the lock: nobody attaches it any more
			return nil
		}
		if err := f.settlePool(ctx, all); err != nil {
			return err
		}
		fault.Point("before a stage is removed")
		defer fault.Point("after a stage is removed")
		return removeVolumes(ctx, f.VG, f)
	})
	return errors.Join(err, forget())
}

// unchanged is ErrChanged if a stage was written to after a snapshot of it was made. It keeps the stage mounted read-only until
// forget, so that nobody writes to it.
func (r realm) unchanged(ctx context.Context, st driver.Stage, since driver.Snapshot) (forget func() error, err error) {
	c, err := r.openComparison(ctx, st, since)
	if err != nil {
		return nil, err
	}
	err = sameFiles(ctx, c.stage.dir(), c.since.dir())
	if err != nil {
		return nil, errors.Join(err, c.shut(context.WithoutCancel(ctx)))
	}
	return func() error { return c.shut(context.WithoutCancel(ctx)) }, nil
}

// comparison is a stage and a snapshot of it, both mounted read-only. The snapshot is held.
type comparison struct {
	stage, since detached
	of           found // the snapshot
	in           found // the stage
	release      func()
}

func (r realm) openComparison(ctx context.Context, st driver.Stage, since driver.Snapshot) (*comparison, error) {
	c := &comparison{}
	err := withStage(ctx, st, func(f found, _ []lv) error {
		c.in = f
		w, err := r.look(ctx, []driver.Snapshot{since})
		if err != nil {
			return err
		}
		if c.of, err = w.find(since); err != nil {
			return fmt.Errorf("%w: %s: %w", driver.ErrChanged, since.Name, err)
		}
		rec, err := parseRecord(c.of.tags())
		if err != nil || rec.Origin != f.UUID {
			return fmt.Errorf("%s is no snapshot of it: %w", since.Name, driver.ErrChanged)
		}
		if mounted, err := f.mounts(); err != nil || len(mounted) > 0 {
			return errors.Join(err, fmt.Errorf("it is mounted: %w", driver.ErrBusy))
		}
		if c.release, err = hold(c.of); err != nil {
			return err
		}
		if err := c.open(ctx); err != nil {
			return fmt.Errorf("%w: whether it was written to cannot be seen: %w", driver.ErrChanged, errors.Join(err, c.shut(context.WithoutCancel(ctx))))
		}
		return nil
	})
	return c, err
}

func (c *comparison) open(ctx context.Context) error {
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOATIME
	var err error
	if c.stage, err = c.in.awake(ctx, access{mount: attributes, options: []string{"ro"}}); err != nil {
		return err
	}
	c.since, err = c.of.awake(ctx, access{mount: attributes, options: []string{"ro", "norecovery"}})
	return err
}

// shut unmounts and deactivates both.
func (c *comparison) shut(ctx context.Context) error {
	var errs []error
	for _, m := range []detached{c.stage, c.since} {
		if m.File != nil {
			errs = append(errs, m.close())
		}
	}
	errs = append(errs, c.in.deactivate(ctx), c.of.deactivate(ctx))
	c.release()
	return errors.Join(errs...)
}
