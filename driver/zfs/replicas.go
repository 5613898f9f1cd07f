package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	zfslib "github.com/mistifyio/go-zfs/v3"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Replicas is a place for replicas of one client: a file system of any pool. It holds nothing between calls. See "Replicas" in
// the package comment.
type Replicas struct {
	kept
	place   place
	formats sync.Once
	can     []string // see Formats
}

// longestReplica is how long the name of a replica can get after that of its place: "/", a key, "@", and the snapshot's name.
const longestReplica = 1 + keyReadable + 1 + 2*keySum + 1 + len("volsnap-") + 32 + len("-20261121T020000.123Z")

// Into is the place at a file system, which is there already: one that is made where a pool's file system is expected would
// inherit what it should not. It holds replicas in file systems of its own below it, and what else lies there is left alone.
func Into(dataset string) (*Replicas, error) {
	r := &Replicas{place: place{dataset}}
	r.kept = keptBy(r.place)
	if err := r.check(dataset); err != nil {
		return nil, fmt.Errorf("place %s: %w", quote(dataset), err)
	}
	return r, nil
}

func (r *Replicas) check(dataset string) error {
	if err := checkName(dataset); err != nil {
		return err
	}
	if most := maxName - longestReplica; len(dataset) > most {
		return fmt.Errorf("its name has more than %d bytes, and ZFS would have no room for the names of replicas", most)
	}
	if err := r.host.awake(dataset); err != nil {
		return err
	}
	ds, err := zfslib.GetDataset(dataset)
	var failed *zfslib.Error
	if errors.As(err, &failed) {
		err = meaning(failed.Stderr, err)
	}
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return r.absent()
	case err != nil:
		return err
	case ds.Type != zfslib.DatasetFilesystem:
		return fmt.Errorf("it is a %s, not a file system: %w", ds.Type, driver.ErrNotSupported)
	}
	return nil
}

// absent is that the place is not there. It is no ErrNotFound, which would be said of a replica.
func (r *Replicas) absent() error {
	return fmt.Errorf("there is no such file system: zfs create -p -o canmount=off -o mountpoint=none %s", quote(r.place.name))
}

// Name is the file system that the place is.
func (r *Replicas) Name() string { return r.place.name }

// Kind implements driver.Receiver.
func (r *Replicas) Kind() string { return Kind }

// look asks for everything in the place.
func (r *Replicas) look(ctx context.Context) (*view, error) {
	if err := errors.Join(ctx.Err(), r.host.awake(r.place.name)); err != nil {
		return nil, err
	}
	v, err := r.place.all(ctx)
	if err == nil && !v.there[r.place.name] {
		err = r.absent()
	}
	return v, err
}

// lookIn asks for what is in some of its file systems, or in all.
func (r *Replicas) lookIn(ctx context.Context, ds []driver.Dataset) (*view, error) {
	var names []string
	for _, one := range ds {
		if err := checkDataset(one); err != nil {
			return nil, err
		}
		if r.place.holds(one.Name) && !slices.Contains(names, one.Name) {
			names = append(names, one.Name)
		}
	}
	if len(names) == 0 || len(names) > fewFileSystems {
		return r.look(ctx)
	}
	if err := errors.Join(ctx.Err(), r.host.awake(r.place.name)); err != nil {
		return nil, err
	}
	return r.place.below(ctx, "1", names...)
}

// fewFileSystems are asked for by name; of more, all are.
const fewFileSystems = 50

// Snapshots implements driver.Lister, by one `zfs get`, and `zfs holds` for those that are held. A replica's dataset is the file
// system that it lies in.
func (r *Replicas) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	out, err := r.list(ctx, ds)
	if err != nil {
		return nil, fmt.Errorf("list replicas in %s: %w", r.place.name, err)
	}
	return out, nil
}

func (r *Replicas) list(ctx context.Context, ds []driver.Dataset) ([]driver.Snapshot, error) {
	v, err := r.lookIn(ctx, ds)
	if err != nil {
		return nil, err
	}
	out := v.ours(ds...)
	var held []string
	for _, s := range out {
		if v.snapshots[s.Name].held {
			held = append(held, s.Name)
		}
	}
	tags, err := holds(ctx, held)
	for i := range out {
		out[i].Pins, _ = pinsOf(tags[out[i].Name])
	}
	return out, err
}

// Space implements driver.Receiver.
func (r *Replicas) Space(ctx context.Context) (driver.Space, error) {
	return spaceOf(ctx, r.host, driver.Dataset{Kind: Kind, Name: r.place.name})
}

// Seal implements driver.Receiver. One that is known by the record of its file system alone gets its own first: that one will be
// of another.
func (r *Replicas) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	if err := r.seal(ctx, consistency, s); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

func (r *Replicas) seal(ctx context.Context, consistency string, s []driver.Snapshot) error {
	if err := checkClass(consistency); err != nil {
		return err
	}
	l, err := r.lookAt(ctx, s)
	if err != nil {
		return err
	}
	all := slices.Clone(s)
	for i, one := range s {
		found, err := l.find(one)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		all[i] = found.now
	}
	if err := r.settle(ctx, l.byName); err != nil {
		return err
	}
	return inParallel(all, sealedTogether, func(some []driver.Snapshot) error { return seal(ctx, replicaSeal, consistency, some) })
}

// settle gives replicas that are known by the record of their file system alone their own.
func (r *Replicas) settle(ctx context.Context, of map[string]seen) error {
	for name, one := range of {
		if one.ours && one.borrowed != nil {
			if err := setRecord(ctx, name, *one.borrowed); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// setRecord writes the record of a replica, or the intent of one on its file system.
func setRecord(ctx context.Context, name string, rec replica) error {
	value, err := rec.encode()
	if err != nil {
		return err
	}
	fault.Point("before record of a replica")
	_, err = run(ctx, "zfs", "set", replicaProp+"="+value, name)
	fault.Point("after record of a replica")
	return err
}
