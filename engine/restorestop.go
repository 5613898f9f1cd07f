package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/restore"
)

// planStop are the containers that have to be stopped: all that use any volume of the app, so that nobody sees one volume's new and
// another's old state; and those that are stopped already, and that the engine would start with itself.
func (e *Engine) planStop(ctx context.Context, app App, inv inventory.Inventory) ([]restore.Container, error) {
	users, err := inventory.Users(ctx, e.Docker, inv.Paths())
	if errors.Is(err, docker.ErrUnavailable) && !slices.ContainsFunc(inv.Volumes, func(v inventory.Volume) bool { return v.Docker }) {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("no container is stopped")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	databases, err := e.databases(ctx, app, users)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for id := range databases {
		known[id] = true
	}
	level := inventory.Levels(users, known)
	var problems []error
	var out []restore.Container
	for _, c := range users {
		switch {
		case c.Paused:
			problems = append(problems, fmt.Errorf("%s is paused: unpause or stop it", c.Name))
		case c.AutoRemove:
			problems = append(problems, fmt.Errorf("%s is removed when it stops (--rm): stop it yourself", c.Name))
		}
		out = append(out, restore.Container{
			ID: c.ID, Name: c.Name, Level: level[c.ID], Timeout: c.StopTimeout, Database: databases[c.ID],
			Restart: docker.RestartPolicy{Name: c.RestartPolicy, Tries: c.RestartTries},
		})
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	idle, err := inventory.Idle(ctx, e.Docker, inv.Paths())
	if err != nil {
		return nil, err
	}
	for _, c := range idle {
		out = append(out, restore.Container{
			ID: c.ID, Name: c.Name, Idle: true, Restart: docker.RestartPolicy{Name: c.RestartPolicy, Tries: c.RestartTries},
		})
	}
	slices.SortStableFunc(out, func(a, b restore.Container) int { return a.Level - b.Level })
	return out, nil
}

// databases are those of the containers that hold one, by id: as the postgres steps name them, or else by what they look like.
func (e *Engine) databases(ctx context.Context, app App, among []docker.Container) (map[string]*inventory.Postgres, error) {
	found := map[string]*inventory.Postgres{}
	for _, s := range app.Freeze.Steps {
		if s.Postgres == nil {
			continue
		}
		c, err := inventory.Find(ctx, e.Docker, app.Project, s.Postgres.Container)
		if errors.Is(err, docker.ErrUnavailable) {
			return nil, err
		}
		if err == nil {
			found[c.ID] = &inventory.Postgres{User: s.Postgres.User, Database: s.Postgres.Database}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, c := range among {
		if pg, is := inventory.PostgresIn(c); is {
			found[c.ID] = &pg
		}
	}
	return found, nil
}
