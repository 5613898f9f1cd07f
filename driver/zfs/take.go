package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// group is a prepared group: two commands.
type group struct {
	set   driver.SetID
	of    int
	items []driver.Item
	guids map[string]string // of the datasets, by name

	snapshot, look []string // the arguments
	used           bool
	taken          time.Time
}

// Take implements driver.Group: all snapshots in one transaction group, or none. That a dataset is still the one that was
// prepared is not asked for here: if it is not, then the record does not name it, and Seal refuses.
func (g *group) Take(ctx context.Context) error {
	if g.used {
		return fmt.Errorf("take %s: the group was used before", g.set)
	}
	g.used = true
	if len(g.items) == 0 {
		return ctx.Err()
	}
	fault.Point("before snapshot")
	_, err := run(ctx, g.snapshot...)
	g.taken = time.Now()
	fault.Point("after snapshot")
	if err != nil {
		return fmt.Errorf("take %s: %w", g.set, err)
	}
	return nil
}

// Made implements driver.Group, by one `zfs list`.
func (g *group) Made(ctx context.Context) ([]driver.Snapshot, error) {
	if len(g.items) == 0 {
		return nil, ctx.Err()
	}
	out, err := g.made(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the snapshots of %s: %w", g.set, err)
	}
	return out, nil
}

func (g *group) made(ctx context.Context) ([]driver.Snapshot, error) {
	type facts struct {
		guid string
		txg  uint64
	}
	found := map[string]facts{}
	err := list(ctx, false, func(f []string) error {
		if len(f) != 3 || !validGUID(f[1]) {
			return fmt.Errorf("zfs list: what is %q?", f)
		}
		txg, err := strconv.ParseUint(f[2], 10, 64)
		found[f[0]] = facts{f[1], txg}
		return err
	}, g.look...)
	if err != nil {
		return nil, err
	}
	var out []driver.Snapshot
	for _, it := range g.items {
		name := snapshotName(it.Dataset.Name, g.set)
		s, there := found[name]
		if !there {
			return nil, fmt.Errorf("%s: %w", name, driver.ErrNotFound)
		}
		out = append(out, driver.Snapshot{
			Dataset: it.Dataset, Name: name, Set: g.set, Member: it.Member, Of: g.of, Volumes: slices.Clone(it.Volumes),
			GUID: s.guid, Order: s.txg, Taken: g.taken,
		})
	}
	return out, nil
}

// Close implements driver.Group. Prepare holds nothing, and leaves nothing.
func (g *group) Close(context.Context) error { return nil }
