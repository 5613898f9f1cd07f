package engine

import (
	"context"
	"time"

	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/quiesce"
)

// freezeSteps are the steps of a plan, ready to run.
type freezeSteps struct {
	configured []Step
	ready      map[int]quiesce.Step // by place among the configured: those that run commands
	postgres   []*quiesce.Postgres  // those of them that make checkpoints

	looked       time.Time       // before the writers were looked up
	pausedBefore map[string]bool // ids of writers that others had paused by then
	holding      bool            // a step holds something
}

// freezeSteps looks up the containers of the steps that run commands. A container that is not running has nothing to bring
// to a consistent state.
func (e *Engine) freezeSteps(ctx context.Context, p *Plan) (freezeSteps, error) {
	s := freezeSteps{configured: p.App.Freeze.Steps, ready: map[int]quiesce.Step{}, pausedBefore: map[string]bool{}}
	for i, step := range s.configured {
		if step.Pause != nil {
			continue
		}
		c, err := inventory.Find(ctx, e.Docker, p.App.Project, step.container())
		if err != nil {
			return s, err
		}
		if !c.Running || c.Paused || c.Restarting {
			continue
		}
		if x := step.Exec; x != nil {
			s.ready[i] = quiesce.ExecStep{Docker: e.Docker, Container: c, Argv: x.Freeze, Thaw: x.Thaw, Timeout: x.Timeout}
			continue
		}
		pg := &quiesce.Postgres{
			Docker: e.Docker, Container: c, User: step.Postgres.User, Database: step.Postgres.Database, Timeout: step.Postgres.Timeout,
		}
		s.ready[i], s.postgres = pg, append(s.postgres, pg)
	}
	return s, nil
}

func (s Step) container() string {
	if s.Postgres != nil {
		return s.Postgres.Container
	}
	return s.Exec.Container
}

// list makes the steps in the configured order, with the writers as they are now, and a last flush of the file systems
// before the first step that holds anything.
func (s *freezeSteps) list(ctx context.Context, e *Engine, p *Plan) ([]quiesce.Step, error) {
	var steps []quiesce.Step
	for i, step := range s.configured {
		next, ok := s.ready[i]
		if step.Pause != nil {
			pause, err := s.pause(ctx, e, p, step.Pause)
			if err != nil {
				return nil, err
			}
			next, ok = pause, true
		}
		if !ok {
			continue
		}
		if len(next.Entries()) > 0 && !s.holding {
			s.holding = true
			steps = append(steps, quiesce.Flush{Paths: p.pools()})
		}
		steps = append(steps, next)
	}
	return steps, nil
}

func (s *freezeSteps) pause(ctx context.Context, e *Engine, p *Plan, spec *PauseStep) (quiesce.PauseStep, error) {
	if s.looked.IsZero() {
		s.looked = time.Now()
	}
	w, err := e.writers(ctx, p)
	if err != nil {
		return quiesce.PauseStep{}, err
	}
	for _, c := range w.all {
		if c.Paused {
			s.pausedBefore[c.ID] = true
		}
	}
	chosen, err := w.choose(ctx, e, p, spec)
	return quiesce.PauseStep{Docker: e.Docker, Waves: chosen.waves()}, err
}
