package replicate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
)

// Mounter shows what a snapshot holds: a driver.Driver, a driver.Receiver.
type Mounter interface {
	Mount(ctx context.Context, s driver.Snapshot, dir string) (unmount func(context.Context) error, err error)
}

const mountPrefix = "digest-" // then the process and a random part

// DigestOf reads all that a snapshot holds, which it mounts below dir for that time. See SweepMounts for what a kill leaves.
func DigestOf(ctx context.Context, by Mounter, s driver.Snapshot, dir string) (out tree.Digest, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return out, err
	}
	if err := SweepMounts(dir); err != nil {
		return out, err
	}
	at, err := os.MkdirTemp(dir, fmt.Sprintf("%s%d-", mountPrefix, os.Getpid()))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.Remove(at)) }()
	unmount, err := by.Mount(ctx, s, at)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, unmount(context.WithoutCancel(ctx))) }()
	return tree.Of(ctx, at)
}

// SweepMounts unmounts what killed processes have left mounted below a directory of DigestOf. None is no error.
func SweepMounts(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, mountPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, at := range names {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(at), mountPrefix), "-")
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
