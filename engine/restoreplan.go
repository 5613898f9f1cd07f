package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// planRestore decides what is replaced, and how.
func (e *Engine) planRestore(ctx context.Context, app App, s snapset.Set, opt RestoreOptions) (*restore.Plan, error) {
	if !s.Complete {
		return nil, fmt.Errorf("%w: it is not complete: %s", ErrRefused, strings.Join(s.Manifest.Faults, "; "))
	}
	chosen, err := chooseVolumes(s, opt.Volumes)
	if err != nil {
		return nil, err
	}
	inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: app.Project, Volumes: app.Volumes})
	if errors.Is(err, inventory.ErrNotFound) {
		return nil, fmt.Errorf("%w (a volume that was removed has to be there, empty, to be restored in place: `docker compose create`, or --to)", err)
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(inOrder(s, inv, chosen), replaceable(inv, chosen)); err != nil {
		return nil, err
	}
	p := &restore.Plan{App: app.Name, Set: s.ID, Asked: opt.Volumes}
	var problems []error
	for _, m := range s.Snapshots {
		items, err := e.planItems(ctx, m, inv, chosen, opt.From != nil)
		problems = append(problems, err)
		p.Items = append(p.Items, items...)
	}
	p.Items, err = withinOthers(p.Items)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if p.Containers, err = e.planStop(ctx, app, inv); err != nil {
		return nil, err
	}
	return p, e.undoable(ctx, app)
}

// chooseVolumes are the volumes of the set that are meant.
func chooseVolumes(s snapset.Set, names []string) (map[string]bool, error) {
	chosen := map[string]bool{}
	var all []string
	for _, m := range s.Manifest.Members {
		all = append(all, m.Volume)
		if len(names) == 0 {
			chosen[m.Volume] = true
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%w: %q is no volume of the set, which has: %s", ErrNoVolume, name, strings.Join(all, ", "))
		}
		chosen[name] = true
	}
	return chosen, nil
}

// ErrNoVolume says that a set has no such volume.
var ErrNoVolume = errors.New("no such volume")

// planItems are what of one snapshot is restored.
func (e *Engine) planItems(
	ctx context.Context, m driver.Snapshot, inv inventory.Inventory, chosen map[string]bool, fetched bool,
) ([]restore.Item, error) {
	var wanted []driver.Volume
	for _, v := range m.Volumes {
		if chosen[v.Name] {
			wanted = append(wanted, v)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	d, err := e.driver(m.Dataset.Kind)
	if err != nil {
		return nil, err
	}
	if _, ok := d.(restore.Storage); !ok {
		return nil, fmt.Errorf("%s: this version restores no %s in place", m.Dataset, m.Dataset.Kind)
	}
	places := map[string]driver.Place{}
	paths := map[string]string{}
	for _, v := range wanted {
		i := slices.IndexFunc(inv.Volumes, func(have inventory.Volume) bool { return have.Name == v.Name })
		if i < 0 {
			return nil, fmt.Errorf("%s is no volume of the app any more, and has no place: add it to the configuration, or restore it beside (--to)", v.Name)
		}
		paths[v.Name] = inv.Volumes[i].HostPath
		if places[v.Name], _, err = e.resolve(ctx, inv.Volumes[i].HostPath); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
	}
	on := m.Dataset
	if fetched { // into whatever dataset the volume is now
		on = places[wanted[0].Name].Dataset
	}
	it, ok, err := swapOf(m, on, wanted, places, paths)
	if err != nil {
		return nil, err
	}
	var cannot error
	if checker, has := d.(driver.SwapChecker); ok && has {
		if cannot = checker.CheckSwap(ctx, on); cannot != nil && !errors.Is(cannot, driver.ErrNotSupported) {
			return nil, cannot
		}
	}
	if ok && cannot == nil {
		return []restore.Item{it}, nil
	}
	var items []restore.Item
	var problems []error
	for _, v := range wanted {
		if places[v.Name].Path == "." && cannot != nil {
			problems = append(problems, fmt.Errorf("%s: %w: it can only be restored beside (--to)", v.Name, cannot))
			continue
		}
		if places[v.Name].Path == "." {
			problems = append(problems, fmt.Errorf("%s is all of %s, and in the set it is %s in %s: it can only be restored beside (--to)",
				v.Name, places[v.Name].Dataset, v.Path, m.Dataset))
			continue
		}
		items = append(items, restore.Item{
			Method: restore.Copy, Volumes: []string{v.Name}, Paths: []string{paths[v.Name]}, Snapshot: m,
			Dataset: places[v.Name].Dataset, Inside: v.Path,
		})
	}
	return items, errors.Join(problems...)
}

// swapOf is the swap of a whole dataset, if all that is in it is restored from one snapshot.
func swapOf(
	m driver.Snapshot, on driver.Dataset, wanted []driver.Volume, places map[string]driver.Place, paths map[string]string,
) (it restore.Item, ok bool, err error) {
	it = restore.Item{Method: restore.Swap, Snapshot: m, Dataset: on}
	top := ""
	var inside []string
	for _, v := range wanted {
		at := places[v.Name]
		if at.Dataset != on || at.Path != v.Path {
			return it, false, nil
		}
		top = strings.TrimSuffix(paths[v.Name], "/"+v.Path)
		inside = append(inside, v.Path)
		it.Volumes, it.Paths = append(it.Volumes, v.Name), append(it.Paths, paths[v.Name])
	}
	alone, err := nothingElse(top, inside)
	return it, alone, err
}

// nothingElse reports whether a directory holds nothing but what lies at the given paths in it, what Docker keeps beside the
// data of a volume, and what mkfs(8) makes.
func nothingElse(top string, inside []string) (bool, error) {
	if slices.Contains(inside, ".") {
		return true, nil
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		var below []string
		whole := false
		for _, path := range inside {
			first, rest, more := strings.Cut(path, "/")
			if first != entry.Name() {
				continue
			}
			whole = whole || !more
			below = append(below, rest)
		}
		switch {
		case whole, len(below) == 0 && entry.Name() == "opts.json" && slices.Contains(inside, "_data"):
		case len(below) == 0 && entry.Name() == "lost+found" && entry.IsDir():
			if empty, err := isEmpty(filepath.Join(top, entry.Name())); err != nil || !empty {
				return false, err
			}
		case len(below) == 0 || entry.Type()&fs.ModeDir == 0:
			return false, nil
		default:
			if alone, err := nothingElse(filepath.Join(top, entry.Name()), below); !alone || err != nil {
				return alone, err
			}
		}
	}
	return true, nil
}
