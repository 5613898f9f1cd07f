package zfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

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

// tidy destroys the lines beside the datasets of some snapshots that hold nothing any more, after what could not be moved out of them
// when a dataset was swapped.
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
	for _, home := range homes {
		if !slices.ContainsFunc(sides, func(side row) bool { of, _ := sideOf(side.name, side.side); return of == home }) {
			continue
		}
		err := gather(ctx, home)
		if err != nil && !errors.Is(err, driver.ErrBusy) && !errors.Is(err, fs.ErrPermission) { // the next one does, or root's
			failed = append(failed, err)
		}
	}
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

// gather gives a dataset the snapshots that it came out of, as far as they lie beside it. ErrBusy: one of them is mounted, or is being
// sent. Until they were moved they are the dataset's all the same, see home; but the one that it is a clone of cannot be destroyed.
func gather(ctx context.Context, name string) error {
	for range deepest {
		all, err := describe(ctx, name)
		if err != nil || all[name] == nil {
			return errors.Join(err, ctx.Err())
		}
		origin, _, _ := strings.Cut(all[name].origin, "@")
		if origin == "" {
			return nil
		}
		from, err := describe(ctx, origin)
		if err != nil || from[origin] == nil {
			return err
		}
		if of, is := sideOf(origin, from[origin].side); !is || of != name {
			return nil
		}
		if err := promote(ctx, name); err != nil {
			return fmt.Errorf("let the snapshots that %s came out of lie in it, and not in %s: %w", name, origin, err)
		}
	}
	return nil
}

// gatherFor is how long snapshots that a swap is to move may be in use, as by a stream that is at its end, before it goes on without.
const gatherFor = 2 * time.Second

// patientlyGather is gather for what is in its place already: that nothing is moved is no reason to keep an app waiting, or to undo
// anything. The next swap does it, and the next Destroy.
func patientlyGather(ctx context.Context, in *fileSys) {
	if in.origin == "" {
		return
	}
	var err error
	for end := time.Now().Add(gatherFor); ; time.Sleep(100 * time.Millisecond) {
		if err = gather(ctx, in.name); !errors.Is(err, driver.ErrBusy) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Str("dataset", in.name).Err(err).
			Msg("what was restored is in its place; its older sets lie beside it until the next set is pruned or restored")
	}
}
