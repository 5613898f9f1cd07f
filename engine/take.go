package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/snapset"
)

// discardLimit is how long the remains of a set that was given up are cleaned away; the next run does what is left.
const discardLimit = time.Minute

// TakeOptions go into the set's record.
type TakeOptions struct {
	Label string
	Pin   string // a reason to pin the set for, or empty

	undo  bool           // it is what a restore is about to replace, in whatever state that is
	guard *snapset.Guard // what it is taken before; nil: nothing
}

// Snapshot takes one set of app and returns its manifest. On error there is no set, unless it was only the pin that failed,
// which the error says; and whatever was paused runs again.
func (e *Engine) Snapshot(ctx context.Context, app App, opt TakeOptions) (m *snapset.Manifest, err error) {
	err = e.locked(ctx, app.Name, func(lock *state.Lock) error {
		m, err = e.snapshot(ctx, app, opt, lock)
		return err
	})
	return m, err
}

func (e *Engine) snapshot(ctx context.Context, app App, opt TakeOptions, lock *state.Lock) (*snapset.Manifest, error) {
	if app.Origin != nil {
		return nil, fmt.Errorf("take a set of %s: %w: %w", app.Name, ErrRefused, ErrFetched)
	}
	e.stage("planning " + app.Name)
	plan, err := e.plan(ctx, app, opt.undo)
	if err != nil {
		return nil, err
	}
	if err := plan.Err(); err != nil {
		return nil, fmt.Errorf("take a set of %s: %w", app.Name, err)
	}
	for _, p := range plan.Problems {
		if p.Level == driver.Warning && !opt.undo {
			zerolog.Ctx(ctx).Warn().Str("about", p.About).Str("mend", p.Mend).Msg(p.What)
		}
	}
	id, err := driver.NewSetID(app.Name, e.Now())
	if err != nil {
		return nil, err
	}
	t := &taking{engine: e, plan: plan, id: id, lock: lock}
	m, err := t.run(ctx, opt)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take a set of %s: %w", app.Name, err), t.discard(ctx))
	}
	zerolog.Ctx(ctx).Info().Str("set", string(id)).Str("consistency", string(m.Consistency)).Float64("pause_ms", m.PauseMS).Msg("took a set")
	if opt.Pin != "" {
		if err := t.pin(ctx, m, opt.Pin); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// taking is one set in the making.
type taking struct {
	engine *Engine
	plan   *Plan
	id     driver.SetID
	lock   *state.Lock

	groups []driver.Group
	steps  freezeSteps
	snaps  []driver.Snapshot
	pause  quiesce.Pause
	last   time.Time // when the last snapshot had been made

	ranMeanwhile []string // containers that were not shown to have been held
}

func (t *taking) run(ctx context.Context, opt TakeOptions) (*snapset.Manifest, error) {
	defer t.close(ctx)
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	if err := t.freeze(ctx); err != nil {
		return nil, err
	}
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	happened, err := t.happened(ctx)
	if err != nil {
		return nil, err
	}
	m, err := t.manifest(happened, opt)
	if err != nil {
		return nil, err
	}
	return m, t.seal(ctx, m)
}

// prepare does all that takes time and holds nobody up.
func (t *taking) prepare(ctx context.Context) error {
	begin := time.Now()
	if err := t.engine.Store.Ready(t.id); err != nil {
		return err // and not after the pause
	}
	steps, err := t.engine.freezeSteps(ctx, t.plan)
	if err != nil {
		return err
	}
	t.steps = steps
	for _, pg := range steps.postgres {
		t.engine.stage("CHECKPOINT in " + pg.Container.Name)
		if err := pg.Prepare(ctx); err != nil {
			return err
		}
	}
	t.engine.stage("flushing file systems")
	for _, req := range t.plan.requests(t.id) {
		g, err := req.driver.Prepare(ctx, req.Request)
		if err != nil {
			return fmt.Errorf("prepare snapshots: %w", err)
		}
		t.groups = append(t.groups, g)
	}
	if err := (quiesce.Flush{Paths: t.plan.paths()}).Freeze(ctx, nil); err != nil {
		return err
	}
	zerolog.Ctx(ctx).Info().Str("set", string(t.id)).Float64("took_ms", milliseconds(time.Since(begin))).Msg("prepared")
	return nil
}

// freeze is the pause, and the snapshots in it. The dead-man is up before the last CHECKPOINT, so that between looking up the
// writers and pausing them there is nothing but the journal.
func (t *taking) freeze(ctx context.Context) (err error) {
	f := quiesce.Freezer{Docker: t.engine.Docker, Limit: t.plan.App.Freeze.Limit}
	if t.steps.lead() < len(t.steps.configured) {
		dead, err := t.deadMan(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dead.Close()) }()
		f.Guard = dead
	}
	if err := t.steps.before(ctx, t.plan); err != nil {
		return err
	}
	steps, err := t.steps.holding(ctx, t.engine, t.plan)
	if err != nil {
		return err
	}
	t.engine.stage("freezing and taking snapshots")
	t.pause, err = f.Frozen(ctx, steps, t.take)
	return err
}

func (t *taking) deadMan(ctx context.Context) (*quiesce.DeadMan, error) {
	journal := quiesce.JournalOf(t.engine.RunDir, t.plan.App.Name)
	return quiesce.StartDeadMan(ctx, t.engine.DeadMan(journal.Path()), journal, t.plan.App.Name, t.lock.File())
}

// take makes the snapshots. Nothing else is done here: the writers are waiting.
func (t *taking) take(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if !t.plan.covering {
		g.SetLimit(1)
	}
	for _, group := range t.groups {
		g.Go(func() error { return group.Take(ctx) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make snapshots: %w", err)
	}
	t.last = time.Now()
	return nil
}

// look finds out, after the thaw, what the snapshots are.
func (t *taking) look(ctx context.Context) error {
	for _, g := range t.groups {
		snaps, err := g.Made(ctx)
		if err != nil {
			return fmt.Errorf("make snapshots: %w", err)
		}
		t.snaps = append(t.snaps, snaps...)
	}
	slices.SortFunc(t.snaps, func(a, b driver.Snapshot) int { return a.Member - b.Member })
	return nil
}

// close releases what prepare holds. What it cannot remove is left over, for the next run; a sealed set is good all the same.
func (t *taking) close(ctx context.Context) {
	for _, g := range t.groups {
		if err := g.Close(context.WithoutCancel(ctx)); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("set", string(t.id)).Msg("something of the preparation is left behind")
		}
	}
}

// seal records the set and makes it count. When the process dies before the last member is sealed, the set is left over.
func (t *taking) seal(ctx context.Context, m *snapset.Manifest) error {
	t.engine.stage("sealing " + string(t.id))
	if err := t.engine.Store.Write(m); err != nil {
		return err
	}
	return t.engine.eachKind(t.snaps, func(d driver.Driver, snaps []driver.Snapshot) error {
		if err := d.Seal(ctx, string(m.Consistency), snaps...); err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		return nil
	})
}

// pin keeps the sealed set, which stays also when that fails.
func (t *taking) pin(ctx context.Context, m *snapset.Manifest, reason string) error {
	err := t.engine.each(snapset.Set{Snapshots: t.snaps}, func(d driver.Driver, s driver.Snapshot) error {
		return d.Pin(ctx, s, reason)
	})
	if err != nil {
		return fmt.Errorf("took %s, but could not pin it: %w", t.id, err)
	}
	m.Pins = []string{reason}
	return nil
}

// discard removes what there is of a set that was given up.
func (t *taking) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
	defer cancel()
	s, err := t.engine.Set(ctx, t.id)
	if errors.Is(err, ErrNoSet) {
		return nil
	}
	if err == nil {
		err = t.engine.destroy(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("remove what there is of it (the next run will): %w", err)
	}
	return nil
}
