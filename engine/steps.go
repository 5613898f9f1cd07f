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

	looked time.Time            // before the writers were looked up
	still  map[string]time.Time // ids of writers that did not run then, though not by us, and when they had been started
}

// freezeSteps looks up the containers of the steps that run commands. A container that is not running has nothing to bring
// to a consistent state.
func (e *Engine) freezeSteps(ctx context.Context, p *Plan) (freezeSteps, error) {
	s := freezeSteps{configured: p.App.Freeze.Steps, ready: map[int]quiesce.Step{}, still: map[string]time.Time{}}
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

// lead is how many of the configured steps come before the first that can hold anything.
func (s *freezeSteps) lead() int {
	for i, step := range s.configured {
		if step.Pause != nil || s.ready[i] != nil && len(s.ready[i].Entries()) > 0 {
			return i
		}
	}
	return len(s.configured)
}

// before runs the steps that hold nothing, and flushes the file systems once more if others follow.
func (s *freezeSteps) before(ctx context.Context, p *Plan) error {
	for i := range s.configured[:s.lead()] {
		if s.ready[i] == nil {
			continue
		}
		if err := s.ready[i].Freeze(ctx, nil); err != nil {
			return err
		}
	}
	if s.lead() == len(s.configured) {
		return nil
	}
	return quiesce.Flush{Paths: p.paths()}.Freeze(ctx, nil)
}

// holding makes the other steps, with the writers as they are now: the later they are looked up, the fewer have changed.
func (s *freezeSteps) holding(ctx context.Context, e *Engine, p *Plan) ([]quiesce.Step, error) {
	var steps []quiesce.Step
	for i := s.lead(); i < len(s.configured); i++ {
		if spec := s.configured[i].Pause; spec != nil {
			pause, err := s.pause(ctx, e, p, spec)
			if err != nil {
				return nil, err
			}
			steps = append(steps, pause)
		} else if s.ready[i] != nil {
			steps = append(steps, s.ready[i])
		}
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
		if c.Paused || c.Restarting {
			s.still[c.ID] = c.StartedAt
		}
	}
	chosen, err := w.choose(ctx, e, p, spec)
	return quiesce.PauseStep{Docker: e.Docker, Waves: chosen.waves()}, err
}
