package engine

import (
	"context"
	"fmt"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/quiesce"
)

// writers are the running containers that can write to an app's volumes.
type writers struct {
	all       []inventory.Writer
	databases map[string]bool // names of those that the postgres steps name
}

func (e *Engine) writers(ctx context.Context, p *Plan) (writers, error) {
	all, err := inventory.Writers(ctx, e.Docker, hostPaths(p))
	if err != nil {
		return writers{}, err
	}
	w := writers{all: all, databases: map[string]bool{}}
	for _, s := range p.App.Freeze.Steps {
		if s.Postgres == nil {
			continue
		}
		c, err := inventory.Find(ctx, e.Docker, p.App.Project, s.Postgres.Container)
		if err == nil {
			w.databases[c.ID] = true
		}
	}
	return w, nil
}

// chosen are the containers that a pause step pauses, in two waves: a database holds still after what writes to it.
type chosen struct {
	writers, databases []docker.Container
	uncovered          []string // names of writers that the step leaves running
}

// choose picks what the step pauses of the containers that run and that nobody else has paused. The error names containers
// that the step names and that do not exist; the rest is chosen all the same.
func (w writers) choose(ctx context.Context, e *Engine, p *Plan, s *PauseStep) (c chosen, err error) {
	named, err := w.named(ctx, e, p, s)
	covered := map[string]bool{}
	for _, one := range named {
		covered[one.ID] = true
		switch {
		case !one.Running || one.Paused || one.Restarting:
		case w.databases[one.ID]:
			c.databases = append(c.databases, one)
		default:
			c.writers = append(c.writers, one)
		}
	}
	for _, one := range w.all {
		if !covered[one.ID] && !one.Paused {
			c.uncovered = append(c.uncovered, one.Name)
		}
	}
	return c, err
}

func (w writers) named(ctx context.Context, e *Engine, p *Plan, s *PauseStep) (named []docker.Container, err error) {
	if len(s.Containers) == 0 {
		for _, one := range w.all {
			named = append(named, docker.Container{
				ID: one.ID, Name: one.Name, StartedAt: one.StartedAt, PID: one.PID, HasHealthcheck: one.HasHealthcheck,
				Running: true, Paused: one.Paused, Restarting: one.Restarting,
			})
		}
		return named, nil
	}
	for _, name := range s.Containers {
		c, findErr := inventory.Find(ctx, e.Docker, p.App.Project, name)
		if findErr != nil {
			err = fmt.Errorf("pause step: %w", findErr)
			continue
		}
		named = append(named, c)
	}
	return named, err
}

func (c chosen) waves() [][]quiesce.Entry {
	var waves [][]quiesce.Entry
	for _, group := range [][]docker.Container{c.writers, c.databases} {
		var wave []quiesce.Entry
		for _, one := range group {
			wave = append(wave, quiesce.PauseEntry(one))
		}
		if len(wave) > 0 {
			waves = append(waves, wave)
		}
	}
	return waves
}
