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
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

const (
	usualRemoval = 10 // sets that may always go in one run
	destroyBatch = 50 // sets that are unsealed and destroyed together
	clockSlack   = time.Second
)

// PrunePlan is what pruning one app would do.
type PrunePlan struct {
	App      string
	Verdicts []Verdict // of the complete sets alone, newest first
	Refused  string    // why nothing will be removed, or empty
}

// Verdict is what becomes of one set, and why.
type Verdict struct {
	Set     snapset.Set
	Keep    bool
	Reasons []string
}

// Removals are the sets that go, oldest first.
func (p PrunePlan) Removals() []snapset.Set {
	var gone []snapset.Set
	for i := len(p.Verdicts) - 1; i >= 0; i-- {
		if !p.Verdicts[i].Keep {
			gone = append(gone, p.Verdicts[i].Set)
		}
	}
	return gone
}

// PlanPrune lists the app's sets afresh and applies its policy. Sets that are not complete are neither counted nor removed.
// unusual lets a large share of the sets go.
func (e *Engine) PlanPrune(ctx context.Context, app App, unusual bool) (PrunePlan, error) {
	sets, err := e.Sets(ctx, app.Name)
	if ctx.Err() != nil {
		return PrunePlan{}, fmt.Errorf("prune %s: %w", app.Name, ctx.Err())
	}
	if err != nil {
		return PrunePlan{}, fmt.Errorf("prune %s: %w, since %w: %w", app.Name, ErrCareful, ErrUnlisted, err)
	}
	return e.planPrune(app, sets, unusual), nil
}

func (e *Engine) planPrune(app App, sets []snapset.Set, unusual bool) PrunePlan {
	byID := map[string]snapset.Set{}
	var items []retention.Item
	doubtful := unrecorded(sets)
	counted := slices.DeleteFunc(slices.Clone(sets), func(s snapset.Set) bool { return !s.Complete || doubtful[s.ID] })
	last, present := lastOf(counted), presentOf(counted)
	now := e.Now()
	for _, s := range counted {
		byID[string(s.ID)] = s
		it := itemOf(s)
		it.Pins = lasting(it.Pins, now)
		for _, m := range last[s.ID] {
			it.Uses = append(it.Uses, fmt.Sprintf("last of %s on %s", m.Volume, datasetOf(m)))
		}
		for _, ds := range present[s.ID] {
			it.Uses = append(it.Uses, "what is on "+ds.String()+" now came out of it")
		}
		items = append(items, it)
	}
	p := PrunePlan{App: app.Name}
	for _, v := range app.Keep.Apply(items, e.Zone) {
		p.Verdicts = append(p.Verdicts, Verdict{Set: byID[v.Item.ID], Keep: v.Keep, Reasons: v.Reasons})
	}
	p.Refused = careful(p, now, unusual)
	for _, s := range sets {
		if doubtful[s.ID] {
			p.Verdicts = append(p.Verdicts, Verdict{Set: s, Keep: true, Reasons: []string{"its manifest is missing: not counted"}})
		}
	}
	slices.SortStableFunc(p.Verdicts, func(a, b Verdict) int { return b.Set.ID.Time().Compare(a.Set.ID.Time()) })
	return p
}

// itemOf is a set as retention sees it.
func itemOf(s snapset.Set) retention.Item {
	it := retention.Item{ID: string(s.ID), Time: s.ID.Time(), Pins: s.Manifest.Pins}
	for _, target := range s.Manifest.Bases {
		it.Uses = append(it.Uses, driver.Base(target))
	}
	return it
}

// unrecorded are the complete sets without a manifest that are newer than the oldest with one. A manifest is written before
// its set is sealed, into a directory that is root's alone; what the storage says of a set may have been written by others who
// have rights there. So these keep no other set from being kept, and are not removed. Sets from before the state directory
// was lost, or of another host, are older, or are with no recorded ones at all: they count.
func unrecorded(sets []snapset.Set) map[driver.SetID]bool {
	found := map[driver.SetID]bool{}
	first := slices.IndexFunc(sets, func(s snapset.Set) bool { return s.Recorded })
	if first < 0 {
		return found
	}
	for _, s := range sets[first:] {
		if s.Complete && !s.Recorded {
			found[s.ID] = true
		}
	}
	return found
}

// careful says why a plan should not be carried out.
func careful(p PrunePlan, now time.Time, unusual bool) string {
	gone := len(p.Removals())
	if gone == 0 {
		return ""
	}
	newest := p.Verdicts[0].Set.ID.Time()
	if now.Add(clockSlack).Before(newest) {
		return fmt.Sprintf("the clock says %s, but the newest set, %s, is of %s", now.UTC().Format(time.RFC3339), p.Verdicts[0].Set.ID, newest.Format(time.RFC3339))
	}
	if !unusual && gone > usualRemoval && 2*gone > len(p.Verdicts) {
		return fmt.Sprintf("%d of %d sets would go, which is an unusual share", gone, len(p.Verdicts))
	}
	return ""
}

// Prune removes what the app's policy does not keep, whole sets, oldest first, and reports what is gone.
func (e *Engine) Prune(ctx context.Context, app App, unusual bool) (removed []snapset.Set, err error) {
	err = e.locked(ctx, app.Name, func(*state.Lock) error {
		removed, err = e.prune(ctx, app, unusual)
		return err
	})
	return removed, err
}

func (e *Engine) prune(ctx context.Context, app App, unusual bool) (removed []snapset.Set, err error) {
	p, err := e.PlanPrune(ctx, app, unusual)
	if err != nil {
		return nil, err
	}
	if p.Refused != "" {
		return nil, fmt.Errorf("prune %s: %w: %s", app.Name, ErrCareful, p.Refused)
	}
	begin := time.Now()
	gone := p.Removals()
	var errs []error
	for len(gone) > 0 {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		e.stage(fmt.Sprintf("pruning %s: %d of %d sets", app.Name, len(removed), len(removed)+len(gone)))
		batch := gone[:min(destroyBatch, len(gone))]
		done, err := e.destroyEach(ctx, batch, e.Now())
		removed, gone = append(removed, done...), gone[len(batch):]
		errs = append(errs, err)
	}
	if len(removed) > 0 {
		zerolog.Ctx(ctx).Info().Int("removed", len(removed)).Int("kept", len(p.Verdicts)-len(removed)).Float64("took_ms", milliseconds(time.Since(begin))).Msg("pruned")
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("prune %s: %w", app.Name, err)
	}
	return removed, nil
}

// destroyEach destroys a batch at once, and when that is refused, one set after the other: a set that is in use keeps
// no other from going. Pins whose time has passed are taken back first: a storage destroys nothing that has one.
func (e *Engine) destroyEach(ctx context.Context, batch []snapset.Set, now time.Time) (gone []snapset.Set, err error) {
	var errs []error
	batch = slices.DeleteFunc(slices.Clone(batch), func(s snapset.Set) bool {
		err := e.unpinThose(ctx, s, func(pin string) bool { return expired(pin, now) })
		if err != nil {
			errs = append(errs, fmt.Errorf("unpin %s, since the time of that has passed: %w", s.ID, err))
		}
		return err != nil
	})
	if err := e.destroy(ctx, batch...); err == nil {
		return batch, errors.Join(errs...)
	}
	for _, s := range batch {
		if err := e.destroy(ctx, s); err != nil {
			errs = append(errs, mountRecordsIn(e.RunDir).stays(s.ID, false, err))
			continue
		}
		gone = append(gone, s)
	}
	return gone, errors.Join(errs...)
}
