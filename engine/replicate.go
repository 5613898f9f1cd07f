package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/time/rate"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// Target is where the sets of an app are sent to.
type Target struct {
	Name             string
	SkipIntermediate bool                                // of the sets that it lacks, the newest alone is sent
	Bandwidth        int64                               // bytes a second; 0: no limit
	Open             func(context.Context) (Link, error) // the same one for every app, as long as it lasts
	Here             func() (Replicas, error)            // what it keeps, Keep not set; nil for a backup server, which prunes by itself
}

// Origin is the way to another host, on which the sets of an app are taken.
type Origin func(context.Context) (Fetched, error) // the same one for every app, as long as it lasts

// Fetched is a host from which sets are fetched. Whoever made the Origin closes it.
type Fetched interface {
	// List tells what there is of an app, with the manifests.
	List(ctx context.Context, app string) (replicate.Listing, error)
	// Source is one of its storages.
	Source(kind string) replicate.Source
}

// Link is the way to a target. Whoever made Open closes it.
type Link interface {
	replicate.Target
	Connections() int // opened so far
	Requests() int    // made so far, each a round trip
}

// ErrNoTarget says that an app has no target of that name.
var ErrNoTarget = errors.New("no such target")

// Replicate sends what the app's targets lack. One that fails keeps no other from its turn. only names the one that is
// meant; empty: all.
func (e *Engine) Replicate(ctx context.Context, app App, only string) (reports []report.Replication, err error) {
	if only != "" && !slices.ContainsFunc(app.Targets, func(t Target) bool { return t.Name == only }) {
		return nil, fmt.Errorf("%s of %s: %w", only, app.Name, ErrNoTarget)
	}
	err = e.locked(ctx, app.Name, func(*state.Lock) error {
		reports, err = e.replicate(ctx, app, only)
		return err
	})
	return reports, err
}

func (e *Engine) replicate(ctx context.Context, app App, only string) ([]report.Replication, error) {
	var errs []error
	var reports []report.Replication
	for _, t := range app.Targets {
		if only != "" && t.Name != only {
			continue
		}
		r, err := e.replicateTo(ctx, app, t)
		if err != nil {
			r.Error = err.Error()
			errs = append(errs, fmt.Errorf("replicate to %s: %w", t.Name, err))
		}
		r.OK = err == nil
		reports = append(reports, r)
	}
	return reports, errors.Join(errs...)
}

func (e *Engine) replicateTo(ctx context.Context, app App, t Target) (r report.Replication, err error) {
	r = report.Replication{App: app.Name, Target: t.Name, Started: e.Now().UTC(), Sets: []report.Sent{}}
	e.stage(fmt.Sprintf("replicating %s to %s", app.Name, t.Name))
	from, err := e.from(ctx, app) // afresh: what a target is about to lack is decided by it
	if err != nil {
		return r, err
	}
	link, err := t.Open(ctx)
	if err != nil {
		return r, err
	}
	connections, requests := link.Connections(), link.Requests()
	if requests == 0 {
		connections = 0 // it was opened for this
	}
	opt := replicate.Options{Target: from.place(t.Name), Order: replicate.Order{SkipIntermediate: t.SkipIntermediate}, Progress: e.Sending}
	if t.Bandwidth > 0 {
		opt.Bandwidth = rate.NewLimiter(rate.Limit(t.Bandwidth), int(min(t.Bandwidth, maxBurst)))
	}
	done, err := replicate.Run(ctx, from.sources, from.sets, link, app.Name, opt)
	r.Newest, r.Listed = string(done.Newest), done.Listed
	for _, s := range done.Sent {
		r.Sets = append(r.Sets, report.Sent{
			ID: string(s.ID), Bytes: s.Bytes, Incremental: s.Incremental, Resumed: s.Resumed, TookMS: milliseconds(s.Took),
		})
	}
	r.Connections, r.RoundTrips = link.Connections()-connections, link.Requests()-requests
	return r, err
}

const maxBurst = 1 << 20 // bytes that go at once, however long the line was idle

// from is what there is to be sent of an app.
type from struct {
	sets    []snapset.Set
	sources []replicate.Source
	client  string // who we are to the host that it is fetched from
}

// place is the name as whose base a set is kept where it was taken.
func (f from) place(target string) string {
	if f.client == "" {
		return target
	}
	return replicate.BaseAt(f.client, target)
}

func (e *Engine) from(ctx context.Context, app App) (from, error) {
	if app.Origin == nil {
		sets, err := e.Sets(ctx, app.Name)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnlisted, err)
		}
		return from{sets: sets, sources: e.sources()}, err
	}
	host, err := app.Origin(ctx)
	if err != nil {
		return from{}, fmt.Errorf("source: %w", err)
	}
	l, err := host.List(ctx, app.Name)
	if err != nil {
		return from{}, fmt.Errorf("source: %w", err)
	}
	if l.Client == "" {
		return from{}, errors.New("source: it does not say whom it takes us for, and so could keep no base")
	}
	f := from{sets: l.Sets(), client: l.Client}
	var kinds []string
	for _, s := range l.Snapshots {
		if !slices.Contains(kinds, s.Dataset.Kind) {
			kinds = append(kinds, s.Dataset.Kind)
			f.sources = append(f.sources, host.Source(s.Dataset.Kind))
		}
	}
	return f, nil
}

// sources are the drivers whose snapshots can be sent.
func (e *Engine) sources() []replicate.Source {
	var all []replicate.Source
	for _, d := range e.Drivers {
		if s, ok := d.(interface {
			driver.Driver
			driver.Sender
		}); ok {
			all = append(all, s)
		}
	}
	return all
}
