package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Resolve implements driver.Taker. The path may lead through symbolic links, and to a directory or a file.
func (d *Driver) Resolve(ctx context.Context, path string) (driver.Place, error) {
	at, err := resolve(ctx, path)
	if err != nil {
		return driver.Place{}, fmt.Errorf("resolve %s: %w", path, classify(err))
	}
	defer closeAll(at.file)
	return driver.Place{
		Dataset: driver.Dataset{Kind: Kind, Name: at.name}, Path: at.rel, Pool: at.pool, Findings: at.findings(),
	}, nil
}

// located is where a path lies.
type located struct {
	file   *os.File          // what is there
	real   string            // its path without symbolic links
	all    []mountinfo.Mount // of every kind
	mounts mounts            // of Btrfs
	via    mountinfo.Mount   // through which the path leads
	inside string            // the path from the top of the file system
	subvol subvol
	top    string // the subvolume's path from the top of the file system
	rel    string // the path inside the subvolume
	name   string // the subvolume's absolute path, if named
	named  bool   // false: the subvolume's top cannot be reached
	pool   string
}

func resolve(ctx context.Context, path string) (*located, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("is no absolute path: %w", driver.ErrNotSupported)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if err := statBtrfs(real); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(real, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	at := &located{file: file, real: real}
	if err := at.locate(); err != nil {
		closeAll(file)
		return nil, err
	}
	return at, nil
}

// statBtrfs is onBtrfs before anything is opened: a path may lead to a device or a pipe.
func statBtrfs(path string) error {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer closeAll(f)
	if err := onBtrfs(f); err != nil {
		return err
	}
	if st, err := f.Stat(); err != nil || !st.IsDir() && !st.Mode().IsRegular() {
		return fmt.Errorf("is neither a directory nor a file: %w", driver.ErrNotSupported)
	}
	return nil
}

func (at *located) locate() error {
	var err error
	if at.all, err = mountinfo.Read(); err != nil {
		return err
	}
	at.mounts = mountsOf(at.all)
	if at.via, at.inside, err = mountinfo.Containing(at.all, at.real); err != nil {
		return err
	}
	if at.subvol, err = infoOf(at.file); err != nil {
		return err
	}
	if at.top, err = subvolPath(at.file, at.subvol.id); err != nil {
		return err
	}
	var ok bool
	if at.rel, ok = mountinfo.Below(at.top, at.inside); !ok {
		return fmt.Errorf("lies at %s of the file system, but its subvolume at %s", at.inside, at.top)
	}
	if at.name, at.named = at.mounts.name(at.via.Dev, at.top); !at.named {
		at.name = at.via.Point
	}
	at.pool, err = fsUUID(at.file)
	return err
}

// fsName is what people call the file system with that magic number, see statfs(2).
func fsName(magic int64) string {
	known := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.PROC_SUPER_MAGIC: "proc",
		unix.F2FS_SUPER_MAGIC: "f2fs", 0x2fc12fc1: "zfs", unix.FUSE_SUPER_MAGIC: "fuse",
	}
	if name := known[magic]; name != "" {
		return name
	}
	return fmt.Sprintf("of type %#x", magic)
}
