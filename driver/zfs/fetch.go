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

const (
	fetchedName = "volsnap-fetched" // of the file system in a pool to which replicas are fetched
	fetchedProp = "volsnap:fetched" // on it: volsnap made it
	fetchedMark = "1"
)

// Fetched is the place in a pool to which replicas come back to be staged.
type Fetched struct {
	*Replicas
	driver *Driver
	beside string // the dataset that its stages are beside of
}

// FetchInto implements driver.Fetcher.
func (d *Driver) FetchInto(ctx context.Context, ds driver.Dataset) (driver.Receiver, error) {
	f, err := d.fetchInto(ctx, ds)
	if err != nil {
		return nil, fmt.Errorf("make a place to fetch to, in the pool of %s: %w", ds, err)
	}
	return f, nil
}

func (d *Driver) fetchInto(ctx context.Context, ds driver.Dataset) (*Fetched, error) {
	if _, err := identify(ctx, ds); err != nil {
		return nil, err
	}
	name := poolOf(ds.Name) + "/" + fetchedName
	for try := 0; ; try++ {
		mark, there := "", false
		err := list(ctx, true, func(f []string) error {
			if there = true; len(f) == 2 && f[1] == local {
				mark = f[0]
			}
			return nil
		}, "zfs", "get", "-Hp", "-o", "value,source", fetchedProp, name)
		switch {
		case err != nil:
			return nil, err
		case there && mark != fetchedMark:
			return nil, fmt.Errorf("%s is there, and volsnap did not make it: move it away (zfs rename): %w", name, driver.ErrForeign)
		case there:
			r, err := Into(name)
			return &Fetched{Replicas: r, driver: d, beside: ds.Name}, err
		}
		argv := []string{"zfs", "create", "-o", fetchedProp + "=" + fetchedMark}
		for _, p := range harmless {
			argv = append(argv, "-o", p.name+"="+p.value)
		}
		fault.Point("before place to fetch to")
		if _, err := run(ctx, append(argv, name)...); err != nil && (try > 0 || !errors.Is(err, driver.ErrExists)) {
			return nil, err
		}
	}
}

// StageOf is as a Stager's: beside the dataset that a replica was fetched for.
func (f *Fetched) StageOf(s driver.Snapshot, name string) (driver.Dataset, error) {
	return stageAt(s, f.beside, name, f.realm)
}

// Stage is as a Stager's. Where the dataset has the very snapshot itself, that is cloned, so that what is taken later has it for its
// base.
func (f *Fetched) Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error) {
	to, err := f.StageOf(s, name)
	if err != nil {
		return driver.Stage{}, err
	}
	here, err := f.driver.Snapshots(ctx, driver.Dataset{Kind: Kind, Name: f.beside})
	if err != nil {
		return driver.Stage{}, fmt.Errorf("stage %s: %w", s.Name, err)
	}
	same := slices.IndexFunc(here, func(one driver.Snapshot) bool { return one.GUID == s.GUID && one.Fault == "" })
	if same >= 0 {
		return f.driver.stage(ctx, here[same], to, f.beside)
	}
	return f.stage(ctx, s, to, f.beside)
}

// Destroy implements driver.Pruner. A replica that was staged goes to what is in its place now: to be the base of its next snapshots
// if that is the dataset it was fetched for, and to be destroyed there if it is another. ErrBusy: it is a stage still.
func (f *Fetched) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	for _, one := range s {
		l, err := f.lookAt(ctx, []driver.Snapshot{one})
		if err != nil {
			return fmt.Errorf("destroy: %w", err)
		}
		found, err := l.find(one)
		switch {
		case errors.Is(err, driver.ErrNotFound):
			err = f.handOn(ctx, one)
		case err == nil && len(found.clones) > 0:
			err = f.handOver(ctx, found)
		default:
			err = nil // Replicas.Destroy says what is to be said
		}
		if err != nil {
			return fmt.Errorf("destroy %s: %w", one.Name, err)
		}
	}
	return f.Replicas.Destroy(ctx, s...)
}

func (f *Fetched) handOver(ctx context.Context, one seen) error {
	to := one.clones[0]
	if _, base := split(to); len(one.clones) > 1 || f.place.holds(to) || strings.HasPrefix(base, stagePrefix) || strings.HasPrefix(base, thirdPrefix) {
		return nil // busy
	}
	all, err := describe(ctx, to)
	if err != nil || all[to] == nil {
		return err
	}
	v, err := f.place.look(ctx, []string{one.dataset, one.name})
	if err != nil {
		return err
	}
	rec := one.borrowed
	if own, err := v.recordIn(one.name); err == nil && own != nil {
		rec = own
	}
	if err := f.settle(ctx, map[string]seen{one.name: one}); err != nil { // by its own record it is known when it lies elsewhere
		return err
	}
	if err := promote(ctx, to); err != nil {
		return err
	}
	return f.takeOver(ctx, to, all[to].guid, one, rec)
}

// takeOver makes a replica that lies in what was a clone of it one of that dataset's own, or destroys it.
func (f *Fetched) takeOver(ctx context.Context, to, guid string, one seen, rec *replica) error {
	there := to + "@" + one.snap
	if to == f.beside && rec != nil && rec.Class != "" {
		return adopt(ctx, there, guid, one, *rec)
	}
	return f.dropped(ctx, there, one)
}

// handOn goes on with a replica that a killed handOver has moved. As long as it has the record of a replica it is nobody's where it lies:
// in the dataset that it was fetched for, or at the side of that.
func (f *Fetched) handOn(ctx context.Context, s driver.Snapshot) error {
	sides, err := besides(ctx, []string{f.beside})
	if err != nil {
		return err
	}
	_, snap, _ := strings.Cut(s.Name, "@")
	names := []string{f.beside + "@" + snap}
	for _, side := range sides {
		names = append(names, side.name+"@"+snap)
	}
	got := facts{}
	if err := list(ctx, true, got.add, got.argv("0", names...)...); err != nil {
		return err
	}
	for _, name := range names {
		mark := got[name][replicaProp]
		rec, err := parseReplica(mark.value)
		if err != nil || mark.source != local || rec.GUID != s.GUID || got[name]["guid"].value != s.GUID {
			continue
		}
		to, _, _ := strings.Cut(name, "@")
		guid, err := identify(ctx, driver.Dataset{Kind: Kind, Name: to})
		if err != nil {
			return err
		}
		return f.takeOver(ctx, to, guid, seen{row: row{dataset: s.Dataset.Name, snap: snap, guid: s.GUID}, now: s}, rec)
	}
	return nil
}

// recordIn is the record that a snapshot has itself.
func (v *view) recordIn(name string) (*replica, error) {
	one, there := v.snapshots[name]
	if !there || one.own == "" {
		return nil, nil
	}
	return parseReplica(one.own)
}

// dropped destroys a replica that lies in a clone of it, with the file system that it was fetched into.
func (f *Fetched) dropped(ctx context.Context, there string, one seen) error {
	if err := f.destroyEmptied(ctx, one.dataset); err != nil {
		return err
	}
	guid, err := run(ctx, "zfs", "get", "-Hp", "-o", "value", "guid", there)
	if err != nil || strings.TrimSpace(guid) != one.guid {
		return err
	}
	fault.Point("before destroy")
	_, err = run(ctx, "zfs", "destroy", there)
	fault.Point("after destroy")
	return err
}

// adopt makes a replica that was fetched, and lies in a dataset of this host now, one of that dataset's own snapshots. At the end it is
// no replica any more: see handOn.
func adopt(ctx context.Context, name, dataset string, one seen, rec replica) error {
	own := record{
		Version: recordVersion, Set: rec.Set, Of: rec.Of, Items: []item{{Member: rec.Member, Dataset: dataset, Volumes: rec.Volumes}},
	}
	options, err := own.options()
	if err != nil {
		return err
	}
	options = slices.DeleteFunc(options, func(o string) bool { return o == "-o" })
	if _, err := run(ctx, slices.Concat([]string{"zfs", "set"}, options, []string{name})...); err != nil {
		return err
	}
	s := one.now
	s.Name, s.Member, s.Taken = name, rec.Member, rec.Taken
	if err := seal(ctx, sealProp, rec.Class, []driver.Snapshot{s}); err != nil {
		return err
	}
	for _, property := range []string{replicaSeal, replicaProp} {
		fault.Point("before removal of a replica's record")
		if _, err := run(ctx, "zfs", "inherit", property, name); err != nil {
			return err
		}
	}
	return nil
}
