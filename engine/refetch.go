package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// ReplicaSource has replicas, and sends them back to whose they are.
type ReplicaSource interface {
	List(ctx context.Context, app string, manifests bool) (replicate.Listing, error)
	Send(ctx context.Context, req driver.SendRequest, w io.Writer) error
}

// From is where a set is fetched from before it is restored.
type From struct {
	Name string
	Open func(context.Context) (ReplicaSource, error)
}

// replica is a set that lies at a target, and its way back.
type replica struct {
	set    snapset.Set                // whose datasets are those of where it was taken
	there  map[string]driver.Snapshot // its members as they lie there, by GUID
	source ReplicaSource
	name   string
}

// replicaOf finds a set at a target. ErrNoSet.
func replicaOf(ctx context.Context, from From, id driver.SetID) (*replica, error) {
	source, err := from.Open(ctx)
	if err != nil {
		return nil, err
	}
	l, err := source.List(ctx, id.App(), true)
	if err != nil {
		return nil, fmt.Errorf("list what %s has: %w", from.Name, err)
	}
	set, err := setOf(l.Sets(), id)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", id, from.Name, err)
	}
	r := &replica{set: set, there: map[string]driver.Snapshot{}, source: source, name: from.Name}
	r.set.Snapshots = slices.Clone(set.Snapshots)
	at := map[string]string{} // where it was taken, by GUID
	if m := l.Manifests[id]; m != nil {
		for _, member := range m.Members {
			at[member.GUID] = member.Dataset
		}
	}
	for i, s := range r.set.Snapshots {
		r.there[s.GUID] = s
		if name, known := at[s.GUID]; known {
			r.set.Snapshots[i].Dataset.Name = name
		}
	}
	return r, nil
}

// NewestAt is the newest complete set of an app at a target. ErrNoSet.
func NewestAt(ctx context.Context, from From, app string) (driver.SetID, error) {
	source, err := from.Open(ctx)
	if err != nil {
		return "", err
	}
	l, err := source.List(ctx, app, true)
	if err != nil {
		return "", fmt.Errorf("list what %s has: %w", from.Name, err)
	}
	newest, ok := newestComplete(l.Sets())
	if !ok {
		return "", fmt.Errorf("%s has no complete set of %s: %w", from.Name, app, ErrNoSet)
	}
	return newest.ID, nil
}

// fetchOne brings a snapshot into the pool of a dataset. What was fetched there before and is another state of the same is removed.
func (e *Engine) fetchOne(ctx context.Context, r *replica, guid string, ds driver.Dataset) (driver.Snapshot, error) {
	from := r.there[guid]
	into, err := e.fetchInto(ctx, from.Dataset.Kind, ds)
	if err != nil {
		return driver.Snapshot{}, err
	}
	have, err := into.Snapshots(ctx)
	if err != nil {
		return driver.Snapshot{}, err
	}
	for _, s := range have {
		if s.GUID == guid && s.Fault == "" && s.Set == from.Set {
			return s, nil
		}
		if slices.Equal(volumeNames(s), volumeNames(from)) {
			if err := into.Destroy(ctx, s); err != nil {
				return driver.Snapshot{}, err
			}
		}
	}
	e.stage(fmt.Sprintf("fetching %s of %s from %s", from.Name, from.Set, r.name))
	got, err := pass(ctx, r.source, driver.SendRequest{Snapshot: from, Formats: into.Formats()}, into)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("fetch %s from %s: %w", from.Name, r.name, err)
	}
	zerolog.Ctx(ctx).Info().Str("snapshot", from.Name).Str("from", r.name).Msg("fetched")
	return got, nil
}

func volumeNames(s driver.Snapshot) []string {
	var names []string
	for _, v := range s.Volumes {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

// pass lets one side send what the other receives.
func pass(ctx context.Context, from ReplicaSource, req driver.SendRequest, into driver.Receiver) (driver.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := from.Send(ctx, req, out)
		sent <- errors.Join(err, out.CloseWithError(err))
	}()
	got, err := into.Receive(ctx, driver.ReceiveRequest{Snapshot: req.Snapshot}, in)
	if err != nil {
		cancel()
	}
	_ = in.Close() // lets a Write that waits return
	sendErr := <-sent
	if err != nil {
		return got, errors.Join(err, sendErr)
	}
	return got, sendErr
}

// fetchInto is the place in the pool of a dataset.
func (e *Engine) fetchInto(ctx context.Context, kind string, ds driver.Dataset) (driver.Receiver, error) {
	if kind != ds.Kind {
		return nil, fmt.Errorf("%w: a replica on %s cannot be restored to %s", ErrRefused, kind, ds)
	}
	d, err := e.driver(kind)
	if err != nil {
		return nil, err
	}
	f, ok := d.(driver.Fetcher)
	if !ok {
		return nil, fmt.Errorf("%w: this version fetches no replicas back to %s", ErrRefused, kind)
	}
	return f.FetchInto(ctx, ds)
}

// fetched is restore.Work's.
func (e *Engine) fetched(ctx context.Context, ds driver.Dataset) (restore.Source, error) {
	r, err := e.fetchInto(ctx, ds.Kind, ds)
	if err != nil {
		return nil, err
	}
	s, ok := r.(restore.Source)
	if !ok {
		return nil, fmt.Errorf("%w: replicas on %s cannot be cloned", ErrRefused, ds.Kind)
	}
	return s, nil
}

// forgetFetched removes what was fetched to the pool of a dataset, which is of no more use. What cannot be removed is in nobody's way.
func (e *Engine) forgetFetched(ctx context.Context, s driver.Snapshot, ds driver.Dataset) {
	into, err := e.fetchInto(ctx, s.Dataset.Kind, ds)
	if err == nil {
		err = into.Destroy(ctx, s)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not remove what was fetched")
	}
}
