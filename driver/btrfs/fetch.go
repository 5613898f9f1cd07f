package btrfs

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// fetchedName is the directory beside the stores, at the top of a mount, to which replicas are fetched.
const fetchedName = ".volsnap-fetched"

// FetchInto implements driver.Fetcher.
func (d *Driver) FetchInto(ctx context.Context, ds driver.Dataset) (driver.Receiver, error) {
	r, err := fetchInto(ctx, ds)
	if err != nil {
		return nil, fmt.Errorf("make a place to fetch to, beside %s: %w", ds, classify(err))
	}
	return r, nil
}

func fetchInto(ctx context.Context, ds driver.Dataset) (*Replicas, error) {
	if _, err := identify(ctx, ds); err != nil {
		return nil, err
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	via, inside, err := mountinfo.Containing(all, ds.Name)
	if err != nil {
		return nil, err
	}
	ms := mountsOf(all)
	home, err := ms.home(via.Dev, inside, true)
	if err != nil {
		home, err = ms.home(via.Dev, inside, false)
	}
	if err != nil {
		return nil, err
	}
	top, err := openDir(home.Point)
	if err != nil {
		return nil, err
	}
	defer closeAll(top)
	dir, err := makePrivate(top, fetchedName)
	if err != nil {
		return nil, err
	}
	defer closeAll(dir)
	return Into(filepath.Join(home.Point, fetchedName), Options{})
}
