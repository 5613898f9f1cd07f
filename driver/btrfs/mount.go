package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// Mount implements driver.Driver: a bind mount that is read-only and without devices, setuid and execution from its first
// moment on.
func (k kept) Mount(
	ctx context.Context, s driver.Snapshot, dir string,
) (unmount func(context.Context) error, err error) {
	err = k.withSnapshot(ctx, s, func(p *spot) error {
		at, err := openEmpty(dir)
		if err != nil {
			return err
		}
		defer closeAll(at)
		return bind(p.dir, at)
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", s.Name, dir, classify(err))
	}
	var mu sync.Mutex
	mounted := true
	return func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if !mounted {
			return nil
		}
		if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, classify(err))
		}
		mounted = false
		return nil
	}, nil
}

// withSnapshot lets fn work with a snapshot that is ours and as it was sealed, and that nobody destroys meanwhile.
func (r realm) withSnapshot(ctx context.Context, s driver.Snapshot, fn func(*spot) error) error {
	st, err := r.lockStores(ctx, []driver.Snapshot{s})
	if err != nil {
		return err
	}
	defer st.close()
	p, err := st.find(s)
	if err != nil {
		return err
	}
	defer closeAll(p.dir)
	return fn(p)
}

func openEmpty(dir string) (*os.File, error) {
	at, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	if in, err := at.Readdirnames(1); len(in) > 0 {
		return nil, errors.Join(fmt.Errorf("the directory is not empty: %w", driver.ErrExists), err, at.Close())
	}
	return at, nil
}

// bind mounts the open directory what at the open directory at.
func bind(what, at *os.File) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	tree, err := unix.OpenTree(int(what.Fd()), "", flags)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer func() { _ = unix.Close(tree) }()
	attr := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	err = unix.MoveMount(tree, "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// Clone implements driver.Driver: a writable snapshot of the snapshot. "to" is an absolute path on the same file system.
func (d *Driver) Clone(ctx context.Context, s driver.Snapshot, to driver.Dataset) error {
	err := d.withSnapshot(ctx, s, func(p *spot) error {
		if to.Kind != Kind || !filepath.IsAbs(to.Name) || filepath.Clean(to.Name) != to.Name || to.Name == "/" {
			return fmt.Errorf("the name is no clean absolute path: %w", driver.ErrNotSupported)
		}
		dir, err := openDir(filepath.Dir(to.Name))
		if err != nil {
			return err
		}
		defer closeAll(dir)
		return clone(p, dir, filepath.Base(to.Name))
	})
	if err != nil {
		return fmt.Errorf("clone %s to %s: %w", s.Name, to, classify(err))
	}
	return nil
}

func clone(p *spot, dir *os.File, name string) error {
	if err := onBtrfs(dir); err != nil {
		return err
	}
	if err := makeSnapshot(p.dir, dir, name, false); err != nil {
		return err
	}
	made, err := openDirIn(dir, name)
	if err != nil {
		return err
	}
	defer closeAll(made)
	info, err := infoOf(made)
	if err != nil {
		return err
	}
	if info.from != p.info.uuid {
		return fmt.Errorf("%s was replaced meanwhile: %w", made.Name(), driver.ErrForeign)
	}
	// A writable subvolume that keeps a received UUID breaks later increments without a word: btrbk#152.
	if info.readOnly || !info.received.IsZero() {
		return errors.Join(errors.New("the kernel made a clone that is not writable, or has a received UUID"),
			destroySubvol(dir, info.id))
	}
	return nil
}

// Space implements driver.Taker.
func (d *Driver) Space(ctx context.Context, ds driver.Dataset) (driver.Space, error) {
	return spaceOf(ctx, ds.Name)
}

func spaceOf(ctx context.Context, dir string) (driver.Space, error) {
	var st unix.Statfs_t
	err := ctx.Err()
	if err == nil {
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return driver.Space{}, fmt.Errorf("space of %s: %w", dir, classify(err))
	}
	size := uint64(st.Bsize)
	return driver.Space{FreeBytes: st.Bavail * size, TotalBytes: st.Blocks * size}, nil
}
