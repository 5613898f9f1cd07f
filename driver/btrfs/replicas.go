package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Replicas is a place for replicas of one client: a directory anywhere on a Btrfs file system. It holds nothing between calls.
// See "Replicas" in the package comment.
type Replicas struct {
	kept
	options Options
	tidied  sync.Once // see arrival.tidy
}

// Options of a place.
type Options struct {
	Resume bool // keep what came of a transfer that broke, so that it can go on
}

// Into is the place at dir, a clean absolute path without symbolic links to a directory of root's alone that is there already: one
// that is made when a disk is not mounted would lie on the wrong one. It holds replicas in directories of its own, and what else
// lies there is left alone.
func Into(dir string, o Options) (*Replicas, error) {
	r := &Replicas{kept: kept{realm: realm{dir: dir}, pace: pace()}, options: o}
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || inStore(dir) {
		return nil, fmt.Errorf("place %q: want a clean absolute path, and not to %s: %w", dir, storeName, driver.ErrNotSupported)
	}
	home, _, err := r.open()
	if err != nil {
		return nil, err
	}
	return r, home.Close()
}

// open opens the place.
func (r *Replicas) open() (*os.File, place, error) {
	all, err := mountinfo.Read()
	if err != nil {
		return nil, place{}, err
	}
	dir, at, err := openPlace(all, r.dir)
	if err != nil {
		return nil, place{}, fmt.Errorf("place %s: %w", r.dir, classify(err))
	}
	return dir, at, nil
}

// Dir is the directory that the place is.
func (r *Replicas) Dir() string { return r.dir }

// Kind implements driver.Receiver.
func (r *Replicas) Kind() string { return Kind }

// Space implements driver.Receiver.
func (r *Replicas) Space(ctx context.Context) (driver.Space, error) { return spaceOf(ctx, r.dir) }

// Snapshots implements driver.Lister. A replica's dataset is the directory that it lies in.
func (r *Replicas) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	dir, at, err := r.open()
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	defer closeAll(dir)
	out, err := r.list(ctx, dir, at, ds)
	if err != nil {
		return nil, fmt.Errorf("list replicas in %s: %w", r.dir, classify(err))
	}
	return out, nil
}

func (r *Replicas) list(ctx context.Context, dir *os.File, at place, ds []driver.Dataset) ([]driver.Snapshot, error) {
	l := lister{realm: r.realm}
	var err error
	if l.want, err = wanted(mounts{}, ds); err != nil {
		return nil, err
	}
	again, err := openDirIn(dir, ".") // the names of an open directory can be read once
	if err != nil {
		return nil, err
	}
	defer closeAll(again)
	dirs, err := l.keysIn(again, at.dev)
	defer func() { closeKeys(dirs) }()
	if err != nil {
		return nil, err
	}
	out, err := l.listKeys(ctx, dirs)
	inOrder(out)
	return out, err
}
