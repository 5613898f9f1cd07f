package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

const (
	listNames  = 500 // that one command is given; the kernel's limit is 2 MiB of arguments
	holdsNames = 50  // `zfs holds` takes longer than in proportion: openzfs#13372
	holdPrefix = "volsnap:"
)

// Snapshots implements driver.Lister: one `zfs list` for each pool, and `zfs holds` for those of ours that are held. A pool
// that is suspended is an error, since nobody can say what is in it; what is in the others is told with it.
func (d *Driver) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []driver.Snapshot
	scopes, err := d.scopes(ds)
	failed := []error{err}
	for _, scope := range scopes {
		got, err := d.listPool(ctx, scope)
		all, failed = append(all, got...), append(failed, err)
	}
	if err = errors.Join(failed...); err != nil {
		err = fmt.Errorf("list snapshots: %w", err)
	}
	slices.SortStableFunc(all, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order))
	})
	return all, err
}

// scope is what of a pool is to be listed: the datasets that are named, or all of it.
type scope struct {
	pool     string
	datasets []string
}

func (d *Driver) scopes(ds []driver.Dataset) ([]scope, error) {
	pools, err := d.host.pools()
	if err != nil {
		return nil, err
	}
	var out []scope
	if len(ds) == 0 {
		for _, pool := range pools {
			out = append(out, scope{pool: pool})
		}
		return out, nil
	}
	for _, one := range ds {
		if err := checkDataset(one); err != nil {
			return nil, err
		}
		pool := poolOf(one.Name)
		at := slices.IndexFunc(out, func(s scope) bool { return s.pool == pool })
		switch {
		case !slices.Contains(pools, pool):
			continue // nothing of it is on this host
		case at < 0:
			out = append(out, scope{pool: pool, datasets: []string{one.Name}})
		case !slices.Contains(out[at].datasets, one.Name):
			out[at].datasets = append(out[at].datasets, one.Name)
		}
	}
	return out, nil
}

func (d *Driver) listPool(ctx context.Context, s scope) ([]driver.Snapshot, error) {
	if err := d.host.awake(s.pool); err != nil {
		return nil, err
	}
	t := newTable()
	argv := []string{"zfs", "list", "-Hp", "-t", "filesystem,volume,snapshot", "-o", columns()}
	var err error
	if s.datasets == nil {
		err = list(ctx, true, t.add, append(argv, "-r", s.pool)...)
	} else {
		names := slices.Clone(s.datasets)
		var sides []row
		if sides, err = besides(ctx, s.datasets); err != nil {
			return nil, err
		}
		for _, side := range sides {
			if !slices.Contains(names, side.name) {
				names = append(names, side.name)
			}
		}
		err = chunks(names, listNames, func(some []string) error {
			one := newTable() // a child of one chunk may be named in another
			if err := list(ctx, true, one.add, slices.Concat(argv, []string{"-d", "1"}, some)...); err != nil {
				return err
			}
			t.join(one, some)
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	return t.snapshots(ctx)
}

// join takes over what another table has of these datasets.
func (t *table) join(o *table, datasets []string) {
	for _, ds := range datasets {
		if guid, there := o.guids[ds]; there {
			t.addDataset(row{name: ds, guid: guid, origin: o.origins[ds], side: o.marks[ds]})
		}
	}
	maps.Copy(t.txgs, o.txgs)
	for _, r := range o.rows {
		if slices.Contains(datasets, r.dataset) {
			t.rows = append(t.rows, r)
		}
	}
}

// snapshots are ours of the table, with their pins.
func (t *table) snapshots(ctx context.Context) ([]driver.Snapshot, error) {
	var out []driver.Snapshot
	var held, doubtful []string
	for _, r := range t.rows {
		s, by := t.judge(r)
		if by == none {
			continue
		}
		out = append(out, s)
		if t.doubtful(r, by) {
			doubtful = append(doubtful, r.name)
		}
		if r.held {
			held = append(held, r.name)
		}
	}
	not, err := foreign(ctx, doubtful)
	if err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(s driver.Snapshot) bool { return not[s.Name] })
	held = slices.DeleteFunc(held, func(name string) bool { return not[name] })
	by, err := holds(ctx, held)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Pins, _ = pinsOf(by[out[i].Name])
	}
	return out, nil
}

// holds are the tags of snapshots by name. One that is gone meanwhile has none.
func holds(ctx context.Context, names []string) (map[string][]string, error) {
	tags := map[string][]string{}
	add := func(f []string) error {
		if len(f) != 3 || !slices.Contains(names, f[0]) {
			return fmt.Errorf("zfs holds: what is %q?", f)
		}
		tags[f[0]] = append(tags[f[0]], f[1])
		return nil
	}
	err := chunks(names, holdsNames, func(some []string) error {
		return list(ctx, true, add, append([]string{"zfs", "holds", "-Hp"}, some...)...)
	})
	return tags, err
}

// pinsOf are the reasons of our holds, sorted, and the holds of others.
func pinsOf(tags []string) (pins, others []string) {
	for _, tag := range tags {
		reason, ours := strings.CutPrefix(tag, holdPrefix)
		if ours && driver.CheckPin(reason) == nil {
			pins = append(pins, reason)
		} else {
			others = append(others, tag)
		}
	}
	slices.Sort(pins)
	return pins, others
}
