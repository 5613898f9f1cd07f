package driverfake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
)

type group struct {
	d      *Driver
	made   []*snapshot
	taken  bool
	closed bool
}

// Prepare implements driver.Taker.
func (d *Driver) Prepare(ctx context.Context, req driver.Request) (driver.Group, error) {
	args := []string{string(req.Set)}
	for _, it := range req.Items {
		args = append(args, it.Dataset.Name)
	}
	if err := d.enter(ctx, "Prepare", args...); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkRequest(req); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", req.Set, err)
	}
	g := &group{d: d}
	for _, it := range req.Items {
		s := &snapshot{intent: true, Snapshot: driver.Snapshot{
			Dataset: it.Dataset, Name: it.Dataset.Name + "@" + req.Set.SnapshotName(), Set: req.Set,
			Member: it.Member, Of: req.Of, Volumes: slices.Clone(it.Volumes),
		}}
		if err := d.effect("intent", s.Name, func() { d.snaps[s.Name] = s }); err != nil {
			return nil, errors.Join(err, g.forget())
		}
		g.made = append(g.made, s)
	}
	d.violations.openGroups++
	return g, nil
}

// checkRequest finds what is wrong with a request. d.mu is held.
func (d *Driver) checkRequest(req driver.Request) error {
	if _, err := driver.ParseSetID(string(req.Set)); err != nil {
		return err
	}
	pool := ""
	names, members := map[string]bool{}, map[int]bool{}
	for _, it := range req.Items {
		ds := d.datasets[it.Dataset.Name]
		have := d.snaps[it.Dataset.Name+"@"+req.Set.SnapshotName()]
		switch {
		case it.Dataset.Kind != d.kind:
			return fmt.Errorf("%s: %w", it.Dataset, driver.ErrNotSupported)
		case ds == nil:
			return fmt.Errorf("%s: %w", it.Dataset, driver.ErrNotFound)
		case have != nil && !have.intent:
			return fmt.Errorf("%s: %w", have.Name, driver.ErrExists)
		case names[it.Dataset.Name] || members[it.Member] || it.Member < 1 || it.Member > req.Of:
			return fmt.Errorf("%s: named twice, or member %d of %d", it.Dataset, it.Member, req.Of)
		case pool != "" && ds.pool != pool:
			return fmt.Errorf("%s: not in pool %s", it.Dataset, pool)
		}
		names[it.Dataset.Name], members[it.Member], pool = true, true, ds.pool
	}
	return nil
}

// Take implements driver.Group.
func (g *group) Take(ctx context.Context) error {
	d := g.d
	if err := d.enter(ctx, "Take", g.names()...); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.taken || g.closed {
		return errors.New("take: the group was used already")
	}
	g.taken = true
	for _, s := range g.made {
		if d.datasets[s.Dataset.Name] == nil {
			return fmt.Errorf("snapshot %s: %w", s.Dataset, driver.ErrNotFound)
		}
		if d.snaps[s.Name] != s {
			return fmt.Errorf("snapshot %s: %w", s.Name, driver.ErrExists)
		}
		err := d.effect("snapshot", s.Name, func() {
			d.identify(s)
			s.intent, s.Taken = false, time.Now()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Made implements driver.Group.
func (g *group) Made(ctx context.Context) ([]driver.Snapshot, error) {
	d := g.d
	if err := d.enter(ctx, "Made", g.names()...); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []driver.Snapshot
	for _, s := range g.made {
		if d.snaps[s.Name] != s || s.intent {
			return nil, fmt.Errorf("snapshot %s: %w", s.Name, driver.ErrNotFound)
		}
		out = append(out, s.copy())
	}
	return out, nil
}

// Close implements driver.Group.
func (g *group) Close(ctx context.Context) error {
	if err := g.d.enter(ctx, "Close", g.names()...); err != nil {
		return err
	}
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	if g.closed {
		return nil
	}
	if err := g.forget(); err != nil {
		return err
	}
	g.closed = true
	g.d.violations.openGroups--
	return nil
}

// forget removes what was only intended. d.mu is held.
func (g *group) forget() error {
	for _, s := range g.made {
		if !s.intent || g.d.snaps[s.Name] != s {
			continue
		}
		if err := g.d.effect("forget", s.Name, func() { delete(g.d.snaps, s.Name) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) names() []string {
	var names []string
	for _, s := range g.made {
		names = append(names, s.Name)
	}
	return names
}

// Seal implements driver.Taker.
func (d *core) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	if err := d.enter(ctx, "Seal", nameAll(s)...); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range s {
		if _, err := d.ours(one); err != nil {
			return fmt.Errorf("seal %s: %w", one.Name, err)
		}
	}
	for _, one := range s {
		have := d.snaps[one.Name]
		err := d.effect("seal", one.Name, func() {
			have.Sealed, have.Consistency = true, consistency
			if d.place == "" { // a replica was taken when its source said
				have.Taken = one.Taken
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func nameAll(s []driver.Snapshot) []string {
	var names []string
	for _, one := range s {
		names = append(names, one.Name)
	}
	return names
}

func (s *snapshot) copy() driver.Snapshot {
	out := s.Snapshot
	out.Volumes, out.Pins = slices.Clone(s.Volumes), slices.Clone(s.Pins)
	return out
}
