package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// spare implements realm: lines are there for their snapshots alone.
func (made) spare(ctx context.Context, clones []string) (map[string]bool, error) {
	var names []string
	for _, name := range clones {
		if isLine(name) {
			names = append(names, name)
		}
	}
	all, err := describe(ctx, names...)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for name, fs := range all {
		out[name] = fs.is()
	}
	return out, nil
}

// isLine reports whether a dataset has the name of a line.
func isLine(name string) bool {
	_, base := split(name)
	return strings.HasPrefix(base, linePrefix) && sidePattern.MatchString(base)
}

// tidy destroys the lines beside the datasets of some snapshots that hold nothing any more.
func (d *Driver) tidy(ctx context.Context, of []driver.Snapshot) error {
	var homes []string
	for _, s := range of {
		if checkAsked(s) == nil && d.host.awake(s.Dataset.Name) == nil && !slices.Contains(homes, s.Dataset.Name) {
			homes = append(homes, s.Dataset.Name)
		}
	}
	if len(homes) == 0 {
		return nil
	}
	sides, err := besides(ctx, homes)
	if err != nil {
		return err
	}
	var failed []error
	for _, side := range sides {
		if !isLine(side.name) {
			continue
		}
		if err := d.retireLine(ctx, side.name); err != nil {
			failed = append(failed, fmt.Errorf("destroy %s, which is empty: %w", side.name, err))
		}
	}
	return errors.Join(failed...)
}

// retireLine destroys a line in which no snapshot is left, and that nobody has mounted.
func (d *Driver) retireLine(ctx context.Context, name string) error {
	all, err := describe(ctx, name)
	if err != nil || !all[name].is() {
		return err
	}
	at, err := mountsOf(name)
	if err != nil || len(at) > 0 {
		return err
	}
	return retire(ctx, made{}, name)
}

// retire destroys a file system of ours that is there for its snapshots alone, if none is left in it but those that were destroyed and
// have clones. They are given to one of the clones before, with `zfs promote`, and go with the last of them.
func retire(ctx context.Context, r realm, name string) error {
	var clones []string // of the newest
	left := false
	err := list(ctx, true, func(f []string) error {
		if len(f) != 4 {
			return fmt.Errorf("zfs list: what is %q?", f)
		}
		if f[0] == name {
			return nil
		}
		if left = left || f[1] != "snapshot" || f[2] != "on"; !left {
			clones = strings.Split(value(f[3]), ",")
		}
		return nil
	}, "zfs", "list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot", "-s", "createtxg", "-o", "name,type,defer_destroy,clones", name)
	if err != nil || left {
		return err
	}
	if len(clones) > 0 {
		spare, err := r.spare(ctx, slices.Clone(clones))
		if err != nil || !spare[clones[0]] {
			return err
		}
		if err := promote(ctx, clones[0]); err != nil {
			return err
		}
	}
	return destroyFileSystem(ctx, name)
}

// promote gives a clone the snapshots that it came out of.
func promote(ctx context.Context, clone string) error {
	fault.Point("before promote")
	_, err := run(ctx, "zfs", "promote", clone)
	fault.Point("after promote")
	return err
}
