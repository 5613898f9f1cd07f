package lvm

import (
	"context"
	"fmt"

	"github.com/volsnap/volsnap/driver"
)

// fetchedOwner is the owner of what is fetched. No client and no target is called so: they have a slash.
const fetchedOwner = "fetched"

// FetchInto implements driver.Fetcher: the dataset's thin pool.
func (d *Driver) FetchInto(ctx context.Context, ds driver.Dataset) (driver.Receiver, error) {
	v, _, err := volumeAt(ctx, ds)
	if err == nil && !v.thin() {
		err = fmt.Errorf("it is a %s volume, not a thin one; %s: %w", v.Segment, thickMend(v), driver.ErrNotSupported)
	}
	var r *Replicas
	if err == nil {
		r, err = Into(v.VG+"/"+v.Pool, Options{Owner: fetchedOwner})
	}
	if err != nil {
		return nil, fmt.Errorf("make a place to fetch to, in the pool of %s: %w", ds, err)
	}
	return r, nil
}
