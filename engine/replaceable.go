package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// replaceable refuses what cannot be replaced without something else: volumes with other file systems in them, and such as hold
// volumes that are to stay.
func replaceable(inv inventory.Inventory, chosen map[string]bool) error {
	mounts, err := mountinfo.Read()
	if err != nil {
		return err
	}
	var problems []error
	for _, v := range inv.Volumes {
		if !chosen[v.Name] {
			continue
		}
		if points := mountinfo.PointsIn(mounts, v.HostPath); len(points) > 0 {
			problems = append(problems, fmt.Errorf("other file systems are mounted in %s, and no set has anything of them: unmount %q first, or restore it beside (--to)", v.Name, points))
		}
		for _, other := range inv.Volumes {
			if rel, in := mountinfo.Below(v.HostPath, other.HostPath); in && rel != "." && !chosen[other.Name] {
				problems = append(problems, fmt.Errorf("%s lies in %s, and would be replaced with it: restore that too (--volume %q)", other.Name, v.Name, other.Name))
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// inOrder refuses to make a volume older than one that it must not be older than, and that stays as it is (I3): by what the set says,
// and by what the configuration says now.
func inOrder(s snapset.Set, inv inventory.Inventory, chosen map[string]bool) error {
	var problems []error
	for _, m := range s.Manifest.Members {
		if !chosen[m.Volume] {
			continue
		}
		for _, other := range notOlderThan(m, inv) {
			if chosen[other] {
				continue
			}
			mend := fmt.Sprintf("restore that too (--volume %q)", other)
			if !slices.ContainsFunc(s.Manifest.Members, func(o snapset.Member) bool { return o.Volume == other }) {
				mend = "the set does not have that: restore it beside (--to), or take the rule out of the configuration"
			}
			problems = append(problems, fmt.Errorf("%w: %s would be of %s, and must not be older than %s, which stays as it is now: %s",
				restore.ErrOlder, m.Volume, m.Taken.Format("2006-01-02 15:04:05Z07:00"), other, mend))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func notOlderThan(m snapset.Member, inv inventory.Inventory) []string {
	all := slices.Clone(m.NotOlderThan)
	for _, v := range inv.Volumes {
		if v.Name == m.Volume {
			all = append(all, v.NotOlderThan...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// withinOthers lets the copy of a volume be that of the volumes in it too.
func withinOthers(items []restore.Item) ([]restore.Item, error) {
	holders := make([]int, len(items)) // of each the outermost that it lies in; itself if it lies in none
	for i, it := range items {
		holders[i] = i
		for k, o := range items {
			holds := slices.ContainsFunc(o.Paths, func(dir string) bool { return isIn(it.Paths[0], dir) })
			if k != i && holds && len(o.Paths[0]) < len(items[holders[i]].Paths[0]) {
				holders[i] = k
			}
		}
	}
	var out []restore.Item
	for i, it := range items {
		if holders[i] != i {
			continue
		}
		for k, in := range items {
			if k == i || holders[k] != i {
				continue
			}
			if !samePlace(it, in) {
				return nil, fmt.Errorf("%s lies in %s, and in the set it does not: they can only be restored beside (--to)", in.Volumes[0], it.Volumes[0])
			}
			it.Volumes, it.Paths = slices.Concat(it.Volumes, in.Volumes), slices.Concat(it.Paths, in.Paths)
		}
		out = append(out, it)
	}
	return out, nil
}

// samePlace reports whether what one copy brings is in another one, where it belongs.
func samePlace(outer, inner restore.Item) bool {
	at, _ := mountinfo.Below(outer.Paths[0], inner.Paths[0])
	was, in := mountinfo.Below(outer.Inside, inner.Inside)
	copies := outer.Method == restore.Copy && inner.Method == restore.Copy
	return copies && in && was == at && outer.Snapshot.GUID == inner.Snapshot.GUID
}

func isIn(path, dir string) bool {
	rel, in := mountinfo.Below(dir, path)
	return in && rel != "."
}

// undoable finds out whether an undo set could be taken, before anything is stopped for it.
func (e *Engine) undoable(ctx context.Context, app App) error {
	p, err := e.plan(ctx, asUndo(app), true)
	if err == nil {
		err = p.Err()
	}
	if err != nil {
		return fmt.Errorf("the present state could not be kept: %w", err)
	}
	return nil
}

// theSame reports whether two lists of volumes ask for the same.
func theSame(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

// asUndo is an app whose present state is to be kept. Its containers are stopped, or were removed, so that nobody is there to be asked for a
// checkpoint; who writes all the same is paused.
func asUndo(app App) App {
	if len(app.Freeze.Steps) > 0 {
		app.Freeze.Steps = []Step{{Pause: &PauseStep{}}}
	}
	return app
}
