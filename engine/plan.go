package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// Plan is what a run of one app would do, found out by reading alone.
type Plan struct {
	App         App
	Members     []PlannedMember
	Steps       []PlannedStep
	Consistency snapset.Consistency // what is to be expected; the manifest says what was reached
	Problems    []Problem           // most serious first

	items    []plannedItem // one a dataset, by member number
	pausing  bool          // there is a pause step
	covering bool          // it covers every writer
}

// PlannedMember is one volume of the set to be taken.
type PlannedMember struct {
	Volume, HostPath string
	Place            driver.Place
	NotOlderThan     []string
}

// PlannedStep is one step of the freeze. Containers that are not running now are not in it.
type PlannedStep struct {
	Kind       string   // postgres, exec, pause
	Containers []string // names, in the order in which they are touched
	Detail     string
}

// Problem is something that a run would meet.
type Problem struct {
	driver.Finding
	About string // a volume, a container, a dataset
}

type plannedItem struct {
	driver.Item
	driver driver.Driver
	pool   driver.Dataset // kind and name: pools of two kinds may have one name
}

// Failed reports whether the plan cannot be carried out.
func (p *Plan) Failed() bool {
	return slices.ContainsFunc(p.Problems, func(q Problem) bool { return q.Level == driver.Error })
}

// Err is nil, or ErrRefused with every error of the plan.
func (p *Plan) Err() error {
	var errs []error
	for _, q := range p.Problems {
		if q.Level == driver.Error {
			errs = append(errs, fmt.Errorf("%s: %s (%s)", q.About, q.What, q.Mend))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRefused, errors.Join(errs...))
}

func (p *Plan) problem(level driver.Level, about, what, mend string) {
	p.Problems = append(p.Problems, Problem{Finding: driver.Finding{Level: level, What: what, Mend: mend}, About: about})
}

// Plan finds out what a run of app would do. The error is for what could not be looked at; what was found to be wrong is in
// the plan.
func (e *Engine) Plan(ctx context.Context, app App) (*Plan, error) { return e.plan(ctx, app, false) }

// plan takes things as they are for an undo set.
func (e *Engine) plan(ctx context.Context, app App, undo bool) (*Plan, error) {
	p := &Plan{App: app}
	if !undo {
		e.planRestored(p)
	}
	inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: app.Project, Volumes: app.Volumes})
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", app.Name, err)
	}
	for _, v := range inv.Volumes {
		if err := e.planMember(ctx, p, v); err != nil {
			return nil, fmt.Errorf("plan %s: volume %s: %w", app.Name, v.Name, err)
		}
	}
	if undo {
		// whatever was moved or emptied: that is what it is to be kept as
	} else if err := e.planMoved(p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", app.Name, err)
	}
	if err := e.planSteps(ctx, p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", app.Name, err)
	}
	if err := e.planSpace(ctx, p); err != nil {
		return nil, fmt.Errorf("plan %s: %w", app.Name, err)
	}
	p.expect()
	slices.SortStableFunc(p.Problems, func(a, b Problem) int { return seriousness(a.Level) - seriousness(b.Level) })
	return p, nil
}

// planRestored refuses to take a set of what a restore has left between two states.
func (e *Engine) planRestored(p *Plan) {
	p.Problems = append(p.Problems, e.unfinishedRestore(p.App.Name)...)
}

// unfinishedRestore says that a restore of app has begun and not ended, if that is so.
func (e *Engine) unfinishedRestore(app string) []Problem {
	j, err := restore.Read(e.Store.Dir, app)
	switch {
	case err != nil:
		return []Problem{problem(driver.Error, app, err.Error(), "look into the file, and at the volumes; when all is as it should be, remove it")}
	case j != nil && j.Phase == restore.Preparing: // it has stopped and replaced nothing
		return []Problem{problem(driver.Warning, app, fmt.Sprintf("%s: of %s, begun at %s; what it had made is there still", restore.ErrUnfinished, j.Set, j.Begun.Format(time.RFC3339)),
			fmt.Sprintf("unless it is at work, `volsnap restore %s --in-place` removes that, and begins again", j.Set))}
	case j != nil:
		return []Problem{problem(driver.Error, app, fmt.Sprintf("%s: of %s, begun at %s", restore.ErrUnfinished, j.Set, j.Begun.Format(time.RFC3339)),
			fmt.Sprintf("unless it is at work, `volsnap restore %s --in-place` brings it to its end, or undoes it and begins again", j.Set))}
	}
	return nil
}

func seriousness(l driver.Level) int {
	return slices.Index([]driver.Level{driver.Error, driver.Warning, driver.Note}, l)
}

func (e *Engine) planMember(ctx context.Context, p *Plan, v inventory.Volume) error {
	place, d, err := e.resolve(ctx, v.HostPath)
	if errors.Is(err, driver.ErrNotSupported) {
		p.Members = append(p.Members, PlannedMember{Volume: v.Name, HostPath: v.HostPath, NotOlderThan: v.NotOlderThan})
		p.problem(driver.Error, v.Name, err.Error(), "move it to a file system of "+e.kinds()+", take it out of the app, or mount there what belongs there")
		return nil
	}
	if err != nil {
		return err
	}
	p.Members = append(p.Members, PlannedMember{Volume: v.Name, HostPath: v.HostPath, Place: place, NotOlderThan: v.NotOlderThan})
	for _, f := range place.Findings {
		p.Problems = append(p.Problems, Problem{Finding: f, About: v.Name})
	}
	vol := driver.Volume{Name: v.Name, Path: place.Path, NotOlderThan: v.NotOlderThan}
	for i := range p.items {
		if p.items[i].Dataset == place.Dataset {
			p.items[i].Volumes = append(p.items[i].Volumes, vol)
			return nil
		}
	}
	item := driver.Item{Dataset: place.Dataset, Member: len(p.items) + 1, Volumes: []driver.Volume{vol}}
	p.items = append(p.items, plannedItem{Item: item, driver: d, pool: driver.Dataset{Kind: d.Kind(), Name: place.Pool}})
	return nil
}

func (e *Engine) resolve(ctx context.Context, path string) (driver.Place, driver.Driver, error) {
	err := fmt.Errorf("%s: %w", path, driver.ErrNotSupported)
	for _, d := range e.Drivers {
		place, err2 := d.Resolve(ctx, path)
		if err2 == nil {
			return place, d, nil
		}
		if !errors.Is(err2, driver.ErrNotSupported) {
			return driver.Place{}, nil, err2
		}
		err = err2
	}
	return driver.Place{}, nil, err
}

func (e *Engine) kinds() string {
	var kinds []string
	for _, d := range e.Drivers {
		kinds = append(kinds, d.Kind())
	}
	return strings.Join(kinds, ", ")
}

const (
	refuseBelow = 0.01 // of a pool's size: a full pool harms the app, so no set is taken
	warnBelow   = 0.10
)

func (e *Engine) planSpace(ctx context.Context, p *Plan) error {
	seen := map[string]bool{}
	for _, it := range p.items {
		if seen[it.pool.String()] {
			continue
		}
		seen[it.pool.String()] = true
		s, err := it.driver.Space(ctx, it.Dataset)
		if errors.Is(err, driver.ErrNotSupported) {
			continue // what was found where the volume lies says why, and the mend
		}
		if err != nil {
			return err
		}
		left := float64(s.FreeBytes) / float64(max(s.TotalBytes, 1))
		if left >= warnBelow {
			continue
		}
		level, what := driver.Warning, "%s of %s free"
		if left < refuseBelow {
			level, what = driver.Error, "%s of %s free: a set could fill it and stop the app"
		}
		p.problem(level, it.Dataset.String(), fmt.Sprintf(what, humanize.IBytes(s.FreeBytes), humanize.IBytes(s.TotalBytes)),
			"free space or grow the pool; `volsnap prune --dry-run` shows what the policy lets go")
	}
	return nil
}

// expect computes the class that the plan leads to, and whether not_older_than can be shown under it.
func (p *Plan) expect() {
	taking := snapset.Taking{
		Instants: p.instants(), WritersHeld: p.covering, InOrder: !p.covering,
		Checkpoint: slices.ContainsFunc(p.App.Freeze.Steps, func(s Step) bool { return s.Postgres != nil }),
	}
	p.Consistency = taking.Class()
	at := map[string]int{}
	for _, it := range p.items {
		for _, v := range it.Volumes {
			at[v.Name] = it.Member
		}
	}
	for _, m := range p.Members {
		for _, other := range m.NotOlderThan {
			if at[m.Volume] == 0 || at[other] == 0 {
				continue // not on a storage of ours, which is a problem of its own
			}
			if taking.Proof(at[m.Volume], at[other]) == "" {
				p.problem(driver.Error, m.Volume, fmt.Sprintf("is taken before %s, which it must not be older than", other),
					"list it after "+other+", or pause all writers")
			}
		}
	}
	if len(p.items) == 0 && !p.Failed() {
		p.problem(driver.Error, p.App.Name, "has no volumes", "list volumes, or name a Compose project that has some")
	}
}

// planSteps looks up the containers of the steps.
func (e *Engine) planSteps(ctx context.Context, p *Plan) error {
	for _, s := range p.App.Freeze.Steps {
		var err error
		switch {
		case s.Postgres != nil:
			err = e.planContainer(ctx, p, "postgres", s.Postgres.Container, fmt.Sprintf("CHECKPOINT in database %s as %s", s.Postgres.Database, s.Postgres.User))
		case s.Exec != nil:
			err = e.planContainer(ctx, p, "exec", s.Exec.Container, fmt.Sprintf("%q, thaw %q", s.Exec.Freeze, s.Exec.Thaw))
		case s.Pause != nil:
			err = e.planPause(ctx, p, s.Pause)
		}
		if err != nil {
			return err
		}
	}
	if !p.pausing && len(p.App.Freeze.Steps) > 0 && len(p.items) > 1 {
		p.problem(driver.Warning, p.App.Name, "no step pauses the writers: files that the database names can be collected between the members",
			"add a step `- pause: {}`")
	}
	return nil
}

func (e *Engine) planContainer(ctx context.Context, p *Plan, kind, name, detail string) error {
	c, err := inventory.Find(ctx, e.Docker, p.App.Project, name)
	if errors.Is(err, docker.ErrUnavailable) {
		return err
	}
	if err != nil {
		p.problem(driver.Error, name, err.Error(), "correct the container's name in the configuration")
		return nil
	}
	if !c.Running || c.Paused {
		p.problem(driver.Warning, c.Name, fmt.Sprintf("is %s: the %s step will be left out", c.State, kind), "start it, if it should run")
		return nil
	}
	for _, before := range p.Steps {
		if before.Kind == "pause" && slices.Contains(before.Containers, c.Name) {
			p.problem(driver.Error, c.Name, "its "+kind+" step comes after its pause, and nothing can be run in a paused container",
				"put the "+kind+" step before the pause")
		}
	}
	p.Steps = append(p.Steps, PlannedStep{Kind: kind, Containers: []string{c.Name}, Detail: detail})
	return nil
}

func (e *Engine) planPause(ctx context.Context, p *Plan, s *PauseStep) error {
	w, err := e.writers(ctx, p)
	if err != nil {
		return err
	}
	p.pausing = true
	chosen, err := w.choose(ctx, e, p, s)
	if errors.Is(err, docker.ErrUnavailable) {
		return err
	}
	if err != nil {
		p.problem(driver.Error, p.App.Name, err.Error(), "correct the containers of the pause step in the configuration")
	}
	p.covering = len(chosen.uncovered) == 0
	for _, name := range chosen.uncovered {
		p.problem(driver.Warning, name, "can write to the app's volumes and is not paused", "name it in the pause step, or use `- pause: {}`")
	}
	step := PlannedStep{Kind: "pause", Detail: "for at most " + p.App.Freeze.Limit.String()}
	for _, c := range append(chosen.writers, chosen.databases...) {
		step.Containers = append(step.Containers, c.Name)
		if c.HasHealthcheck {
			p.problem(driver.Warning, c.Name, "has a health check, which fails while it is paused",
				"see that nothing restarts it when it is unhealthy for a moment")
		}
	}
	p.Steps = append(p.Steps, step)
	return nil
}

// paths is one path in each dataset of the plan: on some storages each is a file system of its own.
func (p *Plan) paths() []string {
	var paths []string
	seen := map[driver.Dataset]bool{}
	for _, m := range p.Members {
		if !seen[m.Place.Dataset] {
			seen[m.Place.Dataset] = true
			paths = append(paths, m.HostPath)
		}
	}
	return paths
}
