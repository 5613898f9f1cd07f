package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockDirs are where LVM keeps its own locks, and what every host has. LVM locks files in it, never the directory.
var lockDirs = []string{"/run/lock/lvm", "/run/lock", "/run"}

const lockRetry = 5 * time.Millisecond

// lock waits until no other volsnap looks at tags to change what they mean: LVM locks a group for one command, and not
// from the look to the change. The lock ends with the process.
func lock(ctx context.Context) (unlock func(), err error) {
	dir, err := openLock()
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil && ctx.Err() == nil:
			return func() { _ = dir.Close() }, nil
		case err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(&os.PathError{Op: "flock", Path: dir.Name(), Err: err}, dir.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir.Name(), ctx.Err()), dir.Close())
		case <-again.C:
		}
	}
}

func openLock() (dir *os.File, err error) {
	for _, name := range lockDirs {
		if dir, err = os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
			return dir, nil
		}
	}
	return nil, err
}
