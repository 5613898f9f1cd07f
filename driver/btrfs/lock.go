package btrfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const lockRetry = 2 * time.Millisecond

// lock waits until no other driver, of this process or another, changes what is in a directory. The lock ends with the
// open file, so it is never left behind.
func lock(ctx context.Context, dir *os.File) error {
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	for {
		ok, err := tryLock(dir, unix.LOCK_EX)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", dir.Name(), ctx.Err())
		case <-again.C:
		}
	}
}

func tryLock(dir *os.File, how int) (bool, error) {
	for {
		err := unix.Flock(int(dir.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return false, &os.PathError{Op: "flock", Path: dir.Name(), Err: err}
		}
	}
}

// lockAll locks stores, always in the same order.
func lockAll(ctx context.Context, stores map[place]*os.File) error {
	order := slices.SortedFunc(maps.Keys(stores), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.inside, b.inside))
	})
	for _, at := range order {
		if err := lock(ctx, stores[at]); err != nil {
			return err
		}
	}
	return nil
}
