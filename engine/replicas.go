package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// Replicas is how a place keeps the sets of its client. What the client says of itself decides nothing here: periods are
// counted by when sets arrived.
type Replicas struct {
	Place *replicate.Place
	Keep  retention.Policy
	Floor time.Duration // what arrived less than this long ago stays, whatever the policy says
	Zone  *time.Location
	Now   func() time.Time
}

// floodSets is how many sets of one app may arrive within a day. More of them could be meant to crowd out the older ones.
const floodSets = 200

// Prune removes the sets of each app that the policy does not keep, and what is left of sets that never arrived as a whole
// and were overtaken. It returns what is gone. ErrCareful: of an app nothing was removed.
func (r Replicas) Prune(ctx context.Context) (removed []driver.SetID, err error) {
	l, err := r.Place.List(ctx, "", true)
	if err != nil {
		return nil, fmt.Errorf("prune replicas: %w: %w", ErrCareful, err)
	}
	byApp := map[string][]snapset.Set{}
	for _, s := range l.Sets() {
		byApp[s.ID.App()] = append(byApp[s.ID.App()], s)
	}
	var errs []error
	for app, sets := range byApp {
		gone, why := r.plan(sets)
		if why != "" {
			errs = append(errs, fmt.Errorf("prune replicas of %s: %w: %s", app, ErrCareful, why))
			continue
		}
		for _, s := range gone {
			if err := r.destroy(ctx, s); err != nil {
				errs = append(errs, fmt.Errorf("prune replica %s: %w", s.ID, err))
				continue
			}
			removed = append(removed, s.ID)
			zerolog.Ctx(ctx).Info().Str("set", string(s.ID)).Msg("pruned a replica")
		}
	}
	slices.Sort(removed)
	return removed, errors.Join(errs...)
}

// plan is what goes of the sets of one app, or why nothing does.
func (r Replicas) plan(sets []snapset.Set) (gone []snapset.Set, why string) {
	now := r.Now()
	arrived := map[driver.SetID]time.Time{}
	var items []retention.Item
	var newest time.Time
	flood := 0
	for _, s := range sets {
		arrived[s.ID] = arrival(s)
		if !s.Complete {
			continue
		}
		it := itemOf(s)
		it.Time = arrived[s.ID]
		if it.Time.After(now.Add(-r.Floor)) {
			it.Uses = append(it.Uses, "arrived less than "+retention.FormatDuration(r.Floor)+" ago")
		}
		if it.Time.After(now.Add(-24 * time.Hour)) {
			flood++
		}
		if it.Time.After(newest) {
			newest = it.Time
		}
		items = append(items, it)
	}
	verdicts := r.Keep.Apply(items, r.Zone)
	goes := map[string]bool{}
	for _, v := range verdicts {
		goes[v.Item.ID] = !v.Keep
	}
	for _, s := range sets {
		overtaken := s.LeftOver && arrived[s.ID].Before(newest) && arrived[s.ID].Before(now.Add(-r.Floor))
		if s.Complete && goes[string(s.ID)] || overtaken {
			gone = append(gone, s)
		}
	}
	switch {
	case len(gone) == 0:
	case now.Add(clockSlack).Before(newest):
		return nil, fmt.Sprintf("the clock says %s, but a set arrived at %s", now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	case flood > floodSets:
		return nil, fmt.Sprintf("%d sets arrived within a day, which is an unusual number: look at the client before they crowd out older ones", flood)
	case len(gone) > usualRemoval && 2*len(gone) > len(sets):
		return nil, fmt.Sprintf("%d of %d sets would go, which is an unusual share", len(gone), len(sets))
	}
	return gone, ""
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
