package zfs

import (
	"context"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// Prepare implements driver.Taker. It reads: there is nothing to be made before the snapshots.
func (d *Driver) Prepare(ctx context.Context, req driver.Request) (driver.Group, error) {
	g, err := d.prepare(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", req.Set, err)
	}
	return g, nil
}

func (d *Driver) prepare(ctx context.Context, req driver.Request) (*group, error) {
	if err := checkRequest(ctx, req); err != nil {
		return nil, err
	}
	g := &group{set: req.Set, of: req.Of, items: slices.Clone(req.Items), guids: map[string]string{}}
	if len(req.Items) == 0 {
		return g, nil
	}
	pool := poolOf(req.Items[0].Dataset.Name)
	for _, it := range req.Items {
		if at := poolOf(it.Dataset.Name); at != pool {
			return nil, fmt.Errorf("%s: is in the pool %s, not in %s", it.Dataset, at, pool)
		}
	}
	if err := d.writable(ctx, pool); err != nil {
		return nil, err
	}
	if err := g.read(ctx); err != nil {
		return nil, err
	}
	if err := g.command(); err != nil {
		return nil, err
	}
	return g, nil
}

func checkRequest(ctx context.Context, req driver.Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := req.Check(Kind); err != nil {
		return err
	}
	for _, it := range req.Items {
		if err := checkName(it.Dataset.Name); err != nil {
			return err
		}
		if len(snapshotName(it.Dataset.Name, req.Set)) > maxName {
			return fmt.Errorf("%s: with @%s its name is longer than the %d bytes of ZFS", it.Dataset, req.Set.SnapshotName(), maxName)
		}
	}
	return nil
}

// writable is an error for a pool in which no snapshot can be made.
func (d *Driver) writable(ctx context.Context, name string) error {
	p, err := d.pool(ctx, name)
	if err != nil {
		return err
	}
	for _, f := range p.findings() {
		if f.Level == driver.Error {
			return fmt.Errorf("%s (%s)", f.What, f.Mend)
		}
	}
	return nil
}

// read finds the datasets, and the names of their snapshots free.
func (g *group) read(ctx context.Context) error {
	var names []string
	for _, it := range g.items {
		names = append(names, it.Dataset.Name, snapshotName(it.Dataset.Name, g.set))
	}
	taken := ""
	add := func(f []string) error {
		switch {
		case len(f) != 3:
			return fmt.Errorf("zfs list: what is %q?", f)
		case f[2] == "snapshot":
			taken = f[0]
		case f[2] == "filesystem" && validGUID(f[1]):
			g.guids[f[0]] = f[1]
		}
		return nil
	}
	err := chunks(names, listNames, func(some []string) error {
		argv := []string{"zfs", "list", "-Hp", "-d", "0", "-t", "filesystem,volume,snapshot", "-o", "name,guid,type"}
		return list(ctx, true, add, append(argv, some...)...)
	})
	if err != nil {
		return err
	}
	if taken != "" {
		return fmt.Errorf("%s: %w", taken, driver.ErrExists)
	}
	for _, it := range g.items {
		if g.guids[it.Dataset.Name] == "" {
			return fmt.Errorf("%s: no file system of that name: %w", it.Dataset, driver.ErrNotFound)
		}
	}
	return nil
}

// command prepares the commands that Take runs.
func (g *group) command() error {
	r := record{Version: recordVersion, Set: g.set, Of: g.of}
	for _, it := range g.items {
		r.Items = append(r.Items, item{Member: it.Member, Dataset: g.guids[it.Dataset.Name], Volumes: it.Volumes})
	}
	options, err := r.options()
	if err != nil {
		return err
	}
	g.snapshot = append([]string{"zfs", "snapshot"}, options...)
	g.look = []string{"zfs", "list", "-Hp", "-d", "0", "-t", "snapshot", "-o", "name,guid,createtxg"}
	for _, it := range g.items {
		name := snapshotName(it.Dataset.Name, g.set)
		g.snapshot = append(g.snapshot, name)
		g.look = append(g.look, name)
	}
	return nil
}
