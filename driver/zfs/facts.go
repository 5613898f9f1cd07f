package zfs

import (
	"context"
	"errors"
	"fmt"

	zfslib "github.com/mistifyio/go-zfs/v3"

	"github.com/volsnap/volsnap/driver"
)

// dataset reads the facts of one file system. This is the one use of go-zfs, which knows neither a context nor the
// properties and holds of snapshots. If the context ends first, its command is left behind, and changes nothing.
func dataset(ctx context.Context, name string) (*zfslib.Dataset, error) {
	if err := errors.Join(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	type answer struct {
		ds  *zfslib.Dataset
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		ds, err := zfslib.GetDataset(name)
		answers <- answer{ds, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answers:
		var failed *zfslib.Error
		if errors.As(a.err, &failed) {
			return nil, meaning(failed.Stderr, a.err)
		}
		return a.ds, a.err
	}
}

// Space implements driver.Taker: what the dataset may still take by the pool and all quotas above it, and that with what it
// has already.
func (d *Driver) Space(ctx context.Context, ds driver.Dataset) (driver.Space, error) {
	return spaceOf(ctx, d.host, ds)
}

func spaceOf(ctx context.Context, h host, ds driver.Dataset) (driver.Space, error) {
	err := errors.Join(checkDataset(ds), h.awake(ds.Name))
	if err == nil {
		var facts *zfslib.Dataset
		if facts, err = dataset(ctx, ds.Name); err == nil {
			return driver.Space{FreeBytes: facts.Avail, TotalBytes: facts.Avail + facts.Used}, nil
		}
	}
	return driver.Space{}, fmt.Errorf("space of %s: %w", ds, err)
}
