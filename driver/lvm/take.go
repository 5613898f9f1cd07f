package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
)

// group is a prepared group. It holds nothing but what it knows.
type group struct {
	set      driver.SetID
	of       int
	vg, pool string
	members  []*member
	used     bool
	taken    time.Time
}

// Take implements driver.Group: one process for all of the snapshots. When ctx ends, the snapshot that is being made is
// finished, since its origin is suspended, and no other is begun. LVM does not say of each whether it was made: Made does.
func (g *group) Take(ctx context.Context) error {
	if g.used {
		return fmt.Errorf("take %s: the group was used before", g.set)
	}
	g.used = true
	if len(g.members) == 0 {
		return ctx.Err()
	}
	var lines []string
	for _, m := range g.members {
		lines = append(lines, m.create())
	}
	fault.Point("before snapshot")
	err := shell(ctx, lines...)
	g.taken = time.Now()
	fault.Point("after snapshot")
	if err != nil {
		return fmt.Errorf("take %s: %w", g.set, errors.Join(err, g.resume(ctx, err)))
	}
	return nil
}

// resume lets the writers of an origin go on that LVM left suspended, because something killed it there: 2 of 12 kills did.
func (g *group) resume(ctx context.Context, err error) error {
	var failed *command.Error
	if !errors.As(err, &failed) || failed.Signal == 0 {
		return nil
	}
	var errs []error
	for _, m := range g.members {
		errs = append(errs, resume(ctx, deviceName(m.origin.VG, m.origin.Name)))
	}
	return errors.Join(errs...)
}

// create is the command that makes a snapshot, with its record.
func (m *member) create() string {
	args := []string{
		"lvcreate", "-y", "--config", "'" + quick + "'", "--snapshot", "--name", m.name, "--permission", "r",
		"--setactivationskip", "y",
	}
	for _, tag := range m.tags {
		args = append(args, "--addtag="+tag)
	}
	return strings.Join(append(args, m.origin.String()), " ")
}

// Made implements driver.Group.
func (g *group) Made(ctx context.Context) ([]driver.Snapshot, error) {
	if len(g.members) == 0 {
		return nil, ctx.Err()
	}
	all, err := volumes(ctx, g.vg)
	if err != nil {
		return nil, fmt.Errorf("look at the snapshots of %s: %w", g.set, err)
	}
	var out []driver.Snapshot
	for _, m := range g.members {
		s, err := m.made(all)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", m.Dataset, err)
		}
		s.Taken = g.taken
		out = append(out, s)
	}
	return out, nil
}

// made finds the snapshot of a member.
func (m *member) made(all []lv) (driver.Snapshot, error) {
	at := slices.IndexFunc(all, func(v lv) bool { return v.VG == m.origin.VG && v.Name == m.name })
	if at < 0 {
		return driver.Snapshot{}, fmt.Errorf("it was made a moment ago: %w", driver.ErrNotFound)
	}
	v := all[at]
	s, ok := judge(v)
	if !ok || s.Fault != "" || v.OriginUUID != m.origin.UUID || s.Sealed || !slices.Equal(sorted(v.tags()), sorted(m.tags)) {
		return driver.Snapshot{}, fmt.Errorf("it is not what was made a moment ago: %w", driver.ErrForeign)
	}
	s.Dataset = m.Dataset
	return s, nil
}

func sorted(tags []string) []string { return slices.Sorted(slices.Values(tags)) }

// Close implements driver.Group. There is nothing to release.
func (g *group) Close(context.Context) error { return nil }
