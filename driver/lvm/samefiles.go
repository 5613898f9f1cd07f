package lvm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// sameFiles is ErrChanged if a directory of a file system, or something below it, is not as in a snapshot of that: by names, and by
// what the kernel keeps of each file, of which the change time cannot be set by those who write to it. No content is read.
func sameFiles(ctx context.Context, now, then string) error { return sameBelow(ctx, now, then, ".") }

func sameBelow(ctx context.Context, now, then, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, b := now+"/"+path, then+"/"+path
	is, was, err := statBoth(a, b)
	if err != nil {
		return err
	}
	if !sameFile(is, was) {
		return fmt.Errorf("%s is not as in the snapshot: %w", quote(path), driver.ErrChanged)
	}
	if is.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	names, err := entries(a)
	if err != nil {
		return err
	}
	had, err := entries(b)
	if err != nil {
		return err
	}
	if !slices.Equal(names, had) {
		return fmt.Errorf("%s holds other names than in the snapshot: %w", quote(path), driver.ErrChanged)
	}
	for _, name := range names {
		if err := sameBelow(ctx, now, then, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// entries are the names in a directory, sorted.
func entries(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func statBoth(a, b string) (is, was unix.Stat_t, err error) {
	if err := unix.Lstat(a, &is); err != nil {
		return is, was, &os.PathError{Op: "lstat", Path: a, Err: err}
	}
	if err := unix.Lstat(b, &was); err != nil {
		return is, was, &os.PathError{Op: "lstat", Path: b, Err: err}
	}
	return is, was, nil
}

// sameFile compares all but the time of the last access, and what depends on the mount.
func sameFile(a, b unix.Stat_t) bool {
	return a.Ino == b.Ino && a.Mode == b.Mode && a.Nlink == b.Nlink && a.Uid == b.Uid && a.Gid == b.Gid && a.Rdev == b.Rdev &&
		a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}
