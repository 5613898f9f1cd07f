package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// Mount implements driver.Driver, read-only and without devices, setuid and execution. It is mount(8) without its helper,
// which would split options at a comma in a name, and needs root: Linux lets nobody else mount, whatever `zfs allow` says.
func (k *kept) Mount(ctx context.Context, s driver.Snapshot, dir string) (func(context.Context) error, error) {
	if err := k.mount(ctx, s, dir); err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", s.Name, dir, err)
	}
	var mu sync.Mutex
	mounted := true
	return func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if !mounted {
			return nil
		}
		if err := unmount(dir); err != nil {
			return err
		}
		mounted = false
		return nil
	}, nil
}

func (k *kept) mount(ctx context.Context, s driver.Snapshot, dir string) error {
	if err := k.check(ctx, s); err != nil {
		return err
	}
	if err := empty(dir); err != nil {
		return err
	}
	_, err := run(ctx, "mount", "-i", "-c", "-n", "-t", "zfs", "-o", "ro,nosuid,nodev,noexec", "--", s.Name, dir)
	if err != nil {
		return withKey(ctx, liesIn(s), err)
	}
	if err := k.check(ctx, s); err != nil { // it may have been replaced just before it was mounted
		return errors.Join(err, unmount(dir))
	}
	return nil
}

func unmount(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: %w: %w", dir, driver.ErrBusy, err)
	case err != nil:
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

func empty(dir string) error {
	if !filepath.IsAbs(dir) {
		return errors.New("it is no absolute path")
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return errors.New("it is no directory")
	}
	in, err := os.ReadDir(dir)
	if err == nil && len(in) > 0 {
		err = fmt.Errorf("the directory is not empty: %w", driver.ErrExists)
	}
	return err
}

// withKey says so if the reason is that the key of the dataset is not loaded.
func withKey(ctx context.Context, dataset string, err error) error {
	status, err2 := run(ctx, "zfs", "get", "-Hp", "-o", "value", "keystatus", dataset)
	if err2 == nil && strings.TrimSpace(status) == "unavailable" {
		return fmt.Errorf("its encryption key is not loaded (zfs load-key %s): %w", quote(dataset), err)
	}
	return err
}

// Clone implements driver.Driver: "to" is a new file system of the same pool whose parent exists. It is not mounted, and no
// boot mounts it, since its mount point is inherited and could hide another: canmount is noauto. Give it the mount point it
// is wanted at, or `zfs mount` it as it is.
func (d *Driver) Clone(ctx context.Context, s driver.Snapshot, to driver.Dataset) error {
	if err := d.clone(ctx, s, to); err != nil {
		return fmt.Errorf("clone %s to %s: %w", s.Name, to, err)
	}
	return nil
}

func (d *Driver) clone(ctx context.Context, s driver.Snapshot, to driver.Dataset) error {
	if err := checkDataset(to); err != nil {
		return err
	}
	if err := d.check(ctx, s); err != nil {
		return err
	}
	if _, err := run(ctx, "zfs", "clone", "-o", "canmount=noauto", s.Name, to.Name); err != nil {
		return err
	}
	if err := d.check(ctx, s); err != nil { // it may have been replaced just before it was cloned
		return fmt.Errorf("%s was made of another state, and is of no use: %w", to, err)
	}
	made, err := dataset(ctx, to.Name)
	if err == nil && made.Origin != s.Name {
		err = fmt.Errorf("%s is a clone of %q: %w", to, made.Origin, driver.ErrForeign)
	}
	return err
}
