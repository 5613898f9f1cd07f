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
	taken    bool
}

// Take implements driver.Group: one process for all of the snapshots, and for a look at what they became. When ctx ends,
// the snapshot that is being made is finished, since its origin is suspended, and no other is begun.
func (g *group) Take(ctx context.Context) ([]driver.Snapshot, error) {
	if g.taken {
		return nil, fmt.Errorf("take %s: the group was used before", g.set)
	}
	g.taken = true
	if len(g.members) == 0 {
		return nil, ctx.Err()
	}
	out, err := g.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("take %s: %w", g.set, err)
	}
	return out, nil
}

func (g *group) take(ctx context.Context) ([]driver.Snapshot, error) {
	var lines []string
	for _, m := range g.members {
		lines = append(lines, m.create())
	}
	fault.Point("before snapshot")
	said, err := shell(ctx, append(lines, g.listing())...)
	taken := time.Now()
	fault.Point("after snapshot")
	if err != nil {
		return nil, errors.Join(err, g.resume(ctx, err))
	}
	return g.made(said, taken)
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

// separator is in no name, UUID or tag.
const separator = "|"

// listing is the command that shows what was made: LVM's shell prints no JSON.
func (g *group) listing() string {
	return strings.Join([]string{
		"lvs", "--noheadings", "--separator", "'" + separator + "'",
		"-o", "lv_name,lv_uuid,segtype,origin,origin_uuid,lv_tags,transaction_id,lv_permissions",
		"--select", `'lv_name=~"^` + g.set.SnapshotName() + `[.]"'`, g.vg,
	}, " ")
}

// parseListing finds volumes in what the shell wrote; whatever else there is has another number of fields.
func parseListing(vg, said string) map[string]lv {
	out := map[string]lv{}
	for line := range strings.Lines(said) {
		f := strings.Split(strings.TrimSpace(line), separator)
		if len(f) != 8 {
			continue
		}
		out[f[0]] = lv{
			VG: vg, Name: f[0], UUID: f[1], Segment: f[2], Origin: f[3], OriginUUID: f[4], Tags: f[5], Order: f[6], Permission: f[7],
		}
	}
	return out
}

// made are the snapshots in the order of the request.
func (g *group) made(said string, taken time.Time) ([]driver.Snapshot, error) {
	there := parseListing(g.vg, said)
	var out []driver.Snapshot
	for _, m := range g.members {
		v, ok := there[m.name]
		if !ok {
			return nil, fmt.Errorf("snapshot %s: it was made a moment ago: %w", m.Dataset, driver.ErrNotFound)
		}
		s, ok := judge(v)
		if !ok || s.Fault != "" || v.OriginUUID != m.origin.UUID || s.Sealed || !slices.Equal(sorted(v.tags()), sorted(m.tags)) {
			return nil, fmt.Errorf("snapshot %s: it is not what was made a moment ago: %w", m.Dataset, driver.ErrForeign)
		}
		s.Dataset, s.Taken = m.Dataset, taken
		out = append(out, s)
	}
	return out, nil
}

func sorted(tags []string) []string { return slices.Sorted(slices.Values(tags)) }

// Close implements driver.Group. There is nothing to release.
func (g *group) Close(context.Context) error { return nil }
