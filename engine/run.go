package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// Run does all stages for one app: take a set, replicate, prune; for one whose sets are taken on another host, without the
// first. Nothing is sent or pruned when no set could be taken; a target that fails keeps nothing from being pruned, but for its base. The report is complete also when there is an error, and
// says the same. only names the target that is meant; empty: all.
func (e *Engine) Run(ctx context.Context, app App, only string) (report.Run, error) {
	r := report.Run{App: app.Name, Started: e.Now().UTC(), Replicated: []report.Replication{}, Removed: []string{}}
	begin := time.Now()
	err := e.locked(ctx, app.Name, func(lock *state.Lock) error {
		if app.Origin != nil {
			return e.fetch(ctx, app, only, &r)
		}
		m, err := e.snapshot(ctx, app, TakeOptions{}, lock)
		if err != nil {
			return err
		}
		r.Set, r.Consistency, r.PauseMS = string(m.ID), string(m.Consistency), m.PauseMS
		replicated, err := e.replicate(ctx, app, only)
		r.Replicated = append(r.Replicated, replicated...)
		removed, pruneErr := e.prune(ctx, app, false)
		for _, s := range removed {
			r.Removed = append(r.Removed, string(s.ID))
		}
		return errors.Join(err, pruneErr)
	})
	if app.Origin == nil {
		err = errors.Join(err, e.sum(ctx, &r))
	}
	r.OK, r.TookMS = err == nil, milliseconds(time.Since(begin))
	if err != nil {
		r.Error = err.Error()
	}
	return r, err
}

// fetch is Run for an app whose sets are taken on another host: they are fetched, and pruned where they are kept on this one.
func (e *Engine) fetch(ctx context.Context, app App, only string, r *report.Run) error {
	replicated, err := e.replicate(ctx, app, only)
	r.Replicated = append(r.Replicated, replicated...)
	errs := []error{err}
	for _, t := range app.Targets {
		if t.Here == nil || only != "" && t.Name != only {
			continue
		}
		there, err := t.Here()
		if err == nil {
			there.Keep = app.Keep
			var removed []snapset.Set
			removed, err = there.PruneApp(ctx, app.Name, false)
			for _, s := range removed {
				r.Removed = append(r.Removed, string(s.ID))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("prune at %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

// sum counts what there is afterwards.
func (e *Engine) sum(ctx context.Context, r *report.Run) error {
	sets, err := e.Sets(context.WithoutCancel(ctx), r.App)
	if err != nil {
		return err
	}
	for _, s := range sets {
		if s.Complete {
			r.Sets++
		}
	}
	if newest, ok := newestComplete(sets); ok {
		r.Newest = string(newest.ID)
	}
	return nil
}

// Health is how an app's sets stand.
type Health struct {
	App        string
	Newest     *snapset.Manifest                 // of the newest complete set; nil when there is none
	Age        time.Duration                     // of it
	Sets       int                               // complete ones
	Faulty     []snapset.Set                     // sets that are damaged or left over
	Unrecorded []driver.SetID                    // complete sets that no rule counts, see unrecorded; oldest first
	Last       map[driver.SetID][]snapset.Member // what lay elsewhere in these sets than it does now, see lastOf
	Frozen     bool                              // a journal exists: something is paused, or was when its run died
	Problems   []Problem
}

// Health looks at the sets of app and tells what is wrong, counting a newest set that is older than maxAge as a warning and
// one of twice that age as an error.
func (e *Engine) Health(ctx context.Context, app string, maxAge time.Duration) (Health, error) {
	h := Health{App: app}
	sets, err := e.Sets(ctx, app)
	if err != nil {
		return h, err
	}
	var whole []snapset.Set
	for _, s := range sets {
		if s.Complete {
			whole = append(whole, s)
		} else {
			h.Faulty = append(h.Faulty, s)
		}
	}
	h.Sets, h.Last = len(whole), lastOf(whole)
	h.Unrecorded = slices.Sorted(maps.Keys(unrecorded(sets)))
	if newest, ok := newestComplete(sets); ok {
		h.Newest, h.Age = newest.Manifest, e.Now().Sub(newest.ID.Time())
	}
	h.judge(maxAge)
	err = e.judgeFreeze(ctx, &h)
	return h, err
}
