package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounter shows what a snapshot holds: a Driver, a Receiver.
type Mounter interface {
	Mount(ctx context.Context, s Snapshot, dir string) (unmount func(context.Context) error, err error)
}

const lookPrefix = "look-" // then the process and a random part

// Look mounts a snapshot below dir, which is made, for as long as fn reads it. See SweepLooks for what a kill leaves.
func Look(ctx context.Context, by Mounter, s Snapshot, dir string, fn func(at string) error) (err error) {
	at, err := lookDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(at)) }()
	unmount, err := by.Mount(ctx, s, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount(context.WithoutCancel(ctx))) }()
	return fn(at)
}

// lookDir is a new directory below dir, which is made, to mount something at. Whoever calls it unmounts that and removes it; what a kill
// leaves is SweepLooks's.
func lookDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := SweepLooks(dir); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, fmt.Sprintf("%s%d-", lookPrefix, os.Getpid()))
}

// SweepLooks unmounts what killed processes have left mounted below a directory of Look. None is no error.
func SweepLooks(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, lookPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, at := range names {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(at), lookPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 || !errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			continue // not ours, or of a process that lives
		}
		if err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted
			errs = append(errs, &os.PathError{Op: "unmount", Path: at, Err: err})
			continue
		}
		if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
