package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
)

// Prepare implements driver.Taker. A snapshot is born with its record, so nothing is written, but for what a killed command of LVM
// has left to do in the pool. It refuses with ErrNoSpace what the pool, or the metadata area of the volume group, might not hold.
func (d *Driver) Prepare(ctx context.Context, req driver.Request) (driver.Group, error) {
	g, err := prepare(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", req.Set, err)
	}
	return g, nil
}

// member is one dataset of a group.
type member struct {
	driver.Item
	origin lv
	name   string // of the snapshot
	tags   []string
}

func prepare(ctx context.Context, req driver.Request) (*group, error) {
	if err := errors.Join(ctx.Err(), req.Check(Kind)); err != nil {
		return nil, err
	}
	g := &group{set: req.Set, of: req.Of}
	if len(req.Items) == 0 {
		return g, nil
	}
	var ds []driver.Dataset
	for _, it := range req.Items {
		ds = append(ds, it.Dataset)
	}
	groups, err := groupsOf(ds)
	if err != nil {
		return nil, err
	}
	if len(groups) > 1 {
		return nil, fmt.Errorf("the volume groups %q are no one pool", groups)
	}
	all, err := volumes(ctx, groups...)
	if err != nil {
		return nil, err
	}
	for _, it := range req.Items {
		if err := g.add(all, it); err != nil {
			return nil, fmt.Errorf("%s: %w", it.Dataset, err)
		}
	}
	if err := step(ctx, all, g.vg, g.pool, g.members[0].origin.Name); err != nil {
		return nil, err
	}
	pool, err := readPool(ctx, g.vg, g.pool)
	if err != nil {
		return nil, err
	}
	if err := g.fits(pool); err != nil {
		return nil, err
	}
	return g, nil
}

// add finds the volume of an item, and the name of its snapshot free.
func (g *group) add(all []lv, it driver.Item) error {
	named := func(name string) func(lv) bool { return func(v lv) bool { return v.String() == name } }
	at := slices.IndexFunc(all, named(it.Dataset.Name))
	if at < 0 {
		return driver.ErrNotFound
	}
	v := all[at]
	if err := v.canBeTaken(); err != nil {
		return err
	}
	if g.pool == "" {
		g.vg, g.pool = v.VG, v.Pool
	}
	if v.Pool != g.pool {
		return fmt.Errorf("is in the thin pool %s, not in %s", v.Pool, g.pool)
	}
	m := &member{Item: it, origin: v, name: snapshotName(g.set, v.UUID)}
	if slices.ContainsFunc(all, named(v.VG+"/"+m.name)) {
		return fmt.Errorf("%s/%s: %w", v.VG, m.name, driver.ErrExists)
	}
	if device := deviceName(v.VG, m.name); len(device) > maxDeviceName {
		return fmt.Errorf("%s is too long for the name of a device", device)
	}
	var err error
	m.tags, err = g.record(m).tags()
	g.members = append(g.members, m)
	return err
}

// canBeTaken says why a volume cannot be snapshotted.
func (v lv) canBeTaken() error {
	switch {
	case !v.thin():
		return fmt.Errorf("it is a %s volume, not a thin one; %s: %w", v.Segment, thickMend(v), driver.ErrNotSupported)
	case !validUUID(v.UUID):
		return fmt.Errorf("its UUID %q is none that LVM makes today: %w", v.UUID, driver.ErrNotSupported)
	case v.Suspended == suspended:
		return fmt.Errorf("its device is suspended, see \"dmsetup resume\": %w", driver.ErrBusy)
	}
	return nil
}

const suspended = "suspended"

func (g *group) record(m *member) record {
	return record{
		Version: recordVersion, Set: g.set, Member: m.Member, Of: g.of, LV: m.origin.Name, Origin: m.origin.UUID, Volumes: m.Volumes,
	}
}

// perSnapshot is what a thin volume takes in the metadata of its group, without its record and with its seal: an
// estimate on the safe side.
const perSnapshot = 1024

// fits is ErrNoSpace if the pool or the metadata area is too full.
func (g *group) fits(p pool) error {
	if err := p.roomy(); err != nil {
		return fmt.Errorf("thin pool %s/%s: %w", g.vg, g.pool, err)
	}
	need := uint64(0)
	for _, m := range g.members {
		need += areaOf(m.tags)
	}
	return p.notes(g.vg, need)
}

// areaOf is what a volume with tags takes in the metadata area of its group.
func areaOf(tags []string) uint64 {
	need := uint64(perSnapshot)
	for _, tag := range tags {
		need += uint64(len(tag)) + 4 // quotes and comma
	}
	return need
}

// notes is ErrNoSpace if the metadata area of the pool's volume group has no room for so many bytes.
func (p pool) notes(vg string, need uint64) error {
	if p.groupFree < need {
		return fmt.Errorf("metadata area of the volume group %s: %d bytes are free, %d needed: %w", vg, p.groupFree, need, driver.ErrNoSpace)
	}
	return nil
}
