package zfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Resolve implements driver.Taker. The path may lead through symbolic links, and to a directory or a file.
func (d *Driver) Resolve(ctx context.Context, path string) (driver.Place, error) {
	at, err := d.locate(ctx, path)
	if err != nil {
		return driver.Place{}, fmt.Errorf("resolve %s: %w", path, err)
	}
	place := driver.Place{Dataset: driver.Dataset{Kind: Kind, Name: at.via.Source}, Path: at.rel, Pool: poolOf(at.via.Source)}
	if place.Findings, err = d.findings(ctx, at); err != nil {
		return driver.Place{}, fmt.Errorf("resolve %s: %w", path, err)
	}
	return place, nil
}

// located is where a path lies.
type located struct {
	real string            // without symbolic links
	all  []mountinfo.Mount // of every kind
	via  mountinfo.Mount   // through which the path leads
	rel  string            // the path inside the dataset
}

func (d *Driver) locate(ctx context.Context, path string) (*located, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("is no absolute path: %w", driver.ErrNotSupported)
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	at := &located{real: filepath.Clean(path), all: all}
	if m, ok := at.longest(); ok && m.FS == Kind && d.host.awake(m.Source) != nil {
		at.via = m // to look at the path itself would hang
	} else if err := at.follow(); err != nil {
		return nil, err
	}
	if err := at.inside(); err != nil {
		return nil, err
	}
	return at, nil
}

// follow finds the mount of the path, which exists.
func (at *located) follow() error {
	var err error
	if at.real, err = filepath.EvalSymlinks(at.real); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", driver.ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	at.via, _, err = mountinfo.Containing(at.all, at.real)
	return err
}

// longest is the mount that the path leads through by its text; of several at one point the last, which hides the others.
func (at *located) longest() (best mountinfo.Mount, found bool) {
	for _, m := range at.all {
		if _, in := mountinfo.Below(m.Point, at.real); in && (!found || len(m.Point) >= len(best.Point)) {
			best, found = m, true
		}
	}
	return best, found
}

// inside finds the path in the dataset: the root of a bind mount lies somewhere in it.
func (at *located) inside() error {
	if at.via.FS != Kind {
		return fmt.Errorf("its file system is %s, not ZFS: %w", at.via.FS, driver.ErrNotSupported)
	}
	if strings.Contains(at.via.Source, "@") {
		return fmt.Errorf("lies in the snapshot %s: %w", at.via.Source, driver.ErrNotSupported)
	}
	if err := checkName(at.via.Source); err != nil {
		return err
	}
	inside, ok := at.via.Inside(at.real)
	if !ok {
		return fmt.Errorf("is not below its mount point %s", at.via.Point)
	}
	at.rel, _ = mountinfo.Below("/", inside)
	if _, control := mountinfo.Below(".zfs", at.rel); control {
		return fmt.Errorf("lies in the .zfs of %s: %w", at.via.Source, driver.ErrNotSupported)
	}
	return nil
}
