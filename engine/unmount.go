package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mounttree"
	"github.com/volsnap/volsnap/replicate"
)

// Unmount takes away what Mount has made at a directory, or what is left of it. ErrNotMounted. ErrBusy: somebody is in there; what
// is gone by then stays gone, and the rest goes by another Unmount.
func (e *Engine) Unmount(ctx context.Context, dir string, open OpenPlace) error {
	records := mountRecordsIn(e.RunDir)
	if _, err := os.Lstat(records.dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	if settled, _, err := settle(dir); err == nil {
		dir = settled
	}
	return records.alone(ctx, func() error {
		rec, err := records.read(dir)
		if err != nil {
			return err
		}
		if rec == nil {
			return fmt.Errorf("%s: %w", dir, ErrNotMounted)
		}
		return e.unmount(ctx, rec, open)
	})
}

// unmount takes away what a record speaks of, and then the record.
func (e *Engine) unmount(ctx context.Context, rec *mountRecord, open OpenPlace) error {
	if err := mounttree.Remove(rec.Dir); err != nil {
		return busyTree(err)
	}
	if err := e.unmounted(ctx, rec, open); err != nil {
		return err
	}
	if rec.Made {
		err := os.Remove(rec.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the directory that was made for the set stays")
		}
		fault.Point("after removal of a directory to mount at")
	}
	return mountRecordsIn(e.RunDir).remove(rec.Dir)
}

// unmounted lets the storages take back what they did beside mounting.
func (e *Engine) unmounted(ctx context.Context, rec *mountRecord, open OpenPlace) error {
	var place *replicate.Place
	var errs []error
	for _, s := range rec.Snapshots {
		d, err := e.driver(s.Dataset.Kind)
		var by any = d
		if _, does := by.(driver.Unmounter); err != nil || !does {
			errs = append(errs, err)
			continue
		}
		if rec.Place != nil && place == nil {
			if place, err = open(*rec.Place); err != nil {
				return err
			}
		}
		if place != nil {
			by, err = place.Mounter(s.Dataset.Kind)
		}
		if u, does := by.(driver.Unmounter); does && err == nil {
			err = u.Unmounted(ctx, s)
		}
		if !errors.Is(err, driver.ErrNotFound) && !errors.Is(err, driver.ErrForeign) { // then it is not what was mounted any more
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// busyTree turns what mounttree says into what callers branch on.
func busyTree(err error) error {
	if errors.Is(err, mounttree.ErrInUse) {
		return fmt.Errorf("%w: %w", driver.ErrBusy, err)
	}
	return err
}
