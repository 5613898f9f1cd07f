package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// Replicas is how a place keeps the sets of its client. What the client says of itself decides nothing here: periods are
// counted by when sets arrived.
type Replicas struct {
	Place   *replicate.Place
	Keep    retention.Policy
	Floor   time.Duration // what arrived less than this long ago stays, whatever the policy says
	Trusted bool          // the client is this host: periods are counted by when sets were taken
	Zone    *time.Location
	Now     func() time.Time
	RunDir  string // where it is noted what Mount shows of them
}

// floodSets is how many sets of one app may arrive within a day. More of them could be meant to crowd out the older ones.
const floodSets = 200

// Prune removes the sets of each app that the policy does not keep, and what is left of sets that never arrived as a whole
// and were overtaken. It returns what is gone. ErrCareful: of an app nothing was removed.
func (r Replicas) Prune(ctx context.Context) (removed []driver.SetID, err error) {
	byApp, err := r.sets(ctx, "")
	if err != nil {
		return nil, err
	}
	var errs []error
	for app, sets := range byApp {
		gone, err := r.remove(ctx, r.plan(app, sets, false), sets)
		for _, s := range gone {
			removed = append(removed, s.ID)
		}
		errs = append(errs, err)
	}
	slices.Sort(removed)
	return removed, errors.Join(errs...)
}

// PlanApp tells what PruneApp would do. unusual lets a large share of the sets go.
func (r Replicas) PlanApp(ctx context.Context, app string, unusual bool) (PrunePlan, error) {
	byApp, err := r.sets(ctx, app)
	return r.plan(app, byApp[app], unusual), err
}

// PruneApp is Prune of one app.
func (r Replicas) PruneApp(ctx context.Context, app string, unusual bool) (removed []snapset.Set, err error) {
	byApp, err := r.sets(ctx, app)
	if err != nil {
		return nil, err
	}
	return r.remove(ctx, r.plan(app, byApp[app], unusual), byApp[app])
}

// sets lists what there is afresh, of one app or of all.
func (r Replicas) sets(ctx context.Context, app string) (map[string][]snapset.Set, error) {
	l, err := r.Place.List(ctx, app, true)
	if err != nil {
		return nil, fmt.Errorf("prune replicas: %w: %w", ErrCareful, err)
	}
	byApp := map[string][]snapset.Set{}
	for _, s := range l.Sets() {
		byApp[s.ID.App()] = append(byApp[s.ID.App()], s)
	}
	return byApp, nil
}

// plan is what becomes of the complete sets of one app.
func (r Replicas) plan(app string, sets []snapset.Set, unusual bool) PrunePlan {
	now := r.Now()
	byID := map[string]snapset.Set{}
	var items []retention.Item
	var newest time.Time
	flood := 0
	last := lastOf(slices.DeleteFunc(slices.Clone(sets), func(s snapset.Set) bool { return !s.Complete }))
	for _, s := range sets {
		if !s.Complete {
			continue
		}
		it := itemOf(s)
		for _, m := range last[s.ID] {
			it.Uses = append(it.Uses, fmt.Sprintf("last of %s in %s", m.Volume, datasetOf(m)))
		}
		at := arrival(s)
		if !r.Trusted {
			it.Time = at
		}
		if at.After(now.Add(-r.Floor)) {
			it.Uses = append(it.Uses, "arrived less than "+retention.FormatDuration(r.Floor)+" ago")
		}
		if at.After(now.Add(-24 * time.Hour)) {
			flood++
		}
		if it.Time.After(newest) {
			newest = it.Time
		}
		byID[it.ID], items = s, append(items, it)
	}
	p := PrunePlan{App: app}
	for _, v := range r.Keep.Apply(items, r.Zone) {
		p.Verdicts = append(p.Verdicts, Verdict{Set: byID[v.Item.ID], Keep: v.Keep, Reasons: v.Reasons})
	}
	gone := len(p.Removals())
	switch {
	case gone == 0:
	case now.Add(clockSlack).Before(newest):
		p.Refused = fmt.Sprintf("the clock says %s, but there is a set of %s", now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	case flood > floodSets && !r.Trusted:
		p.Refused = fmt.Sprintf("%d sets arrived within a day, which is an unusual number: look at the client before they crowd out older ones", flood)
	case !unusual && gone > usualRemoval && 2*gone > len(items):
		p.Refused = fmt.Sprintf("%d of %d sets would go, which is an unusual share", gone, len(items))
	}
	return p
}

// remove carries a plan out, and removes what never arrived as a whole and was overtaken by a set that did.
func (r Replicas) remove(ctx context.Context, p PrunePlan, sets []snapset.Set) (removed []snapset.Set, err error) {
	if p.Refused != "" {
		return nil, fmt.Errorf("prune replicas of %s: %w: %s", p.App, ErrCareful, p.Refused)
	}
	var errs []error
	for _, s := range append(p.Removals(), r.overtaken(sets)...) {
		if err := r.destroy(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("prune replica %s: %w", s.ID, mountRecordsIn(r.RunDir).stays(s.ID, true, err)))
			continue
		}
		removed = append(removed, s)
		zerolog.Ctx(ctx).Info().Str("set", string(s.ID)).Msg("pruned a replica")
	}
	return removed, errors.Join(errs...)
}

func (r Replicas) overtaken(sets []snapset.Set) (left []snapset.Set) {
	var newest time.Time
	for _, s := range sets {
		if at := arrival(s); s.Complete && at.After(newest) {
			newest = at
		}
	}
	for _, s := range sets {
		if at := arrival(s); s.LeftOver && at.Before(newest) && at.Before(r.Now().Add(-r.Floor)) {
			left = append(left, s)
		}
	}
	return left
}

// arrival is when the last member of a set arrived.
func arrival(s snapset.Set) (at time.Time) {
	for _, m := range s.Snapshots {
		if m.Received.After(at) {
			at = m.Received
		}
	}
	return at
}

// destroy removes one set: unsealed first, so that what a killed prune leaves is no set.
func (r Replicas) destroy(ctx context.Context, s snapset.Set) error {
	sound := slices.DeleteFunc(slices.Clone(s.Snapshots), func(m driver.Snapshot) bool { return m.Fault != "" })
	each := func(fn func(driver.Receiver, []driver.Snapshot) error) error {
		for _, to := range r.Place.Receivers {
			its := slices.DeleteFunc(slices.Clone(sound), func(m driver.Snapshot) bool { return m.Dataset.Kind != to.Kind() })
			if len(its) == 0 {
				continue
			}
			if err := fn(to, its); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(func(to driver.Receiver, its []driver.Snapshot) error { return to.Unseal(ctx, its...) }); err != nil {
		return err
	}
	if err := r.Place.Store.Remove(s.ID); err != nil {
		return err
	}
	return each(func(to driver.Receiver, its []driver.Snapshot) error { return to.Destroy(ctx, its...) })
}

// DeleteReplica destroys one replica at a target of this host, unless it is what the next increment builds on, or the newest that
// is there. One of a time to come is as in Delete.
func (e *Engine) DeleteReplica(ctx context.Context, app App, there Replicas, id driver.SetID) error {
	return e.locked(ctx, app.Name, func(*state.Lock) error {
		byApp, err := there.sets(ctx, app.Name)
		if err != nil {
			return err
		}
		sets := byApp[app.Name]
		replica, err := setOf(sets, id)
		if err != nil {
			return fmt.Errorf("delete the replica of %s: %w", id, err)
		}
		from, err := e.from(ctx, app)
		if err != nil {
			return err
		}
		newest, ok := newestComplete(sets)
		switch {
		case replicate.NewestCommon(from.sets, listingOf(sets)) == id:
			return fmt.Errorf("delete the replica of %s: %w: the next increment builds on it", id, ErrRefused)
		case ok && newest.ID == id && !e.supersededAhead(sets):
			return fmt.Errorf("delete the replica of %s: %w: it is the newest that is there", id, ErrRefused)
		}
		return mountRecordsIn(there.RunDir).stays(id, true, there.destroy(ctx, replica))
	})
}

func listingOf(sets []snapset.Set) (l replicate.Listing) {
	for _, s := range sets {
		l.Snapshots = append(l.Snapshots, s.Snapshots...)
	}
	return l
}

// PruneReplicas prunes one app at a target of this host, and keeps other runs off the app meanwhile: one of them may be
// sending what builds on what would go.
func (e *Engine) PruneReplicas(ctx context.Context, app App, there Replicas, unusual bool) (removed []snapset.Set, err error) {
	err = e.locked(ctx, app.Name, func(*state.Lock) error {
		removed, err = there.PruneApp(ctx, app.Name, unusual)
		return err
	})
	return removed, err
}
