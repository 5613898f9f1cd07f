package lvm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// view is what is in the volume groups of some snapshots, read at once.
type view struct {
	realm
	volumes map[string]lv // by "vg/lv"
}

// look reads the groups of snapshots. A name that is none, or that lies elsewhere, is left to find.
func (r realm) look(ctx context.Context, asked []driver.Snapshot) (*view, error) {
	var groups []string
	for _, s := range asked {
		if vg, _, err := split(s.Name); err == nil && r.inReach(vg) {
			groups = append(groups, vg)
		}
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	w := &view{realm: r, volumes: map[string]lv{}}
	if err := ctx.Err(); err != nil || len(groups) == 0 {
		return w, err
	}
	all, err := volumes(ctx, groups...)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if _, twice := w.volumes[v.String()]; !twice {
			w.volumes[v.String()] = v
		}
	}
	return w, nil
}

// found is a snapshot that is ours, and as it was asked for.
type found struct {
	lv
	snap driver.Snapshot
}

// find finds what was asked for: ErrNotFound if nothing has its name, ErrForeign if something else has.
func (w *view) find(asked driver.Snapshot) (found, error) {
	vg, _, err := split(asked.Name)
	if err != nil {
		return found{}, err
	}
	if !w.inReach(vg) {
		return found{}, fmt.Errorf("it is not in the volume group %s: %w", w.vg, driver.ErrForeign)
	}
	v, there := w.volumes[asked.Name]
	if !there {
		return found{}, driver.ErrNotFound
	}
	s, ok := w.judge(v)
	switch {
	case !ok:
		return found{}, driver.ErrForeign
	case s.Fault != "":
		return found{}, fmt.Errorf("it %s: %w", s.Fault, driver.ErrForeign)
	case s.GUID != asked.GUID || s.Set != asked.Set:
		return found{}, fmt.Errorf("it is %s of the set %s: %w", s.GUID, s.Set, driver.ErrForeign)
	}
	return found{v, s}, nil
}

// free is ErrBusy for a snapshot that is pinned, mounted or otherwise open.
func (f found) free() error {
	if len(f.snap.Pins) > 0 {
		return fmt.Errorf("pinned by %q: %w", f.snap.Pins, driver.ErrBusy)
	}
	if f.inUse() {
		return fmt.Errorf("its device is open, for example mounted: %w", driver.ErrBusy)
	}
	return nil
}

// byUUID selects volumes by what nobody can give to another one, see lvmreport(7). LVM compares it while it holds the lock
// of the group, so that no name can be swapped meanwhile.
func byUUID(these ...found) string {
	var terms []string
	for _, f := range these {
		terms = append(terms, "lv_uuid="+f.UUID)
	}
	return strings.Join(terms, "||")
}

// byGroup sorts snapshots by volume group.
func byGroup(these []found) map[string][]found {
	out := map[string][]found{}
	for _, f := range these {
		out[f.VG] = append(out[f.VG], f)
	}
	return out
}
