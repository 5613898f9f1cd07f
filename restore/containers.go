package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

const (
	stopLimit = 60   // seconds that a container has to stop, unless it was given its own time
	stopSlack = 30   // seconds more, after which the engine is taken to hang
	atOnce    = 16   // containers that are stopped or started at a time
	noRestart = "no" // a restart policy
)

// levels are the containers by level, lowest first.
func levels(all []Container) [][]Container {
	by := map[int][]Container{}
	var order []int
	for _, c := range all {
		if by[c.Level] == nil {
			order = append(order, c.Level)
		}
		by[c.Level] = append(by[c.Level], c)
	}
	slices.Sort(order)
	var out [][]Container
	for _, l := range order {
		out = append(out, by[l])
	}
	return out
}

func each(ctx context.Context, all []Container, fn func(context.Context, Container) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, c := range all {
		g.Go(func() error { return fn(ctx, c) })
	}
	return g.Wait()
}

// stop stops the containers, those that others depend on last. First all are kept from being started by the engine, which would
// do that when it is started itself, whatever has become of their volumes by then.
func (w *Work) stop(ctx context.Context, all []Container) error {
	w.stage("stopping containers")
	err := each(ctx, all, func(ctx context.Context, c Container) error {
		if c.Restart.Name == noRestart || c.Restart.Name == "" {
			return nil
		}
		return gone(w.Docker.SetRestart(ctx, c.ID, docker.RestartPolicy{Name: noRestart}))
	})
	if err != nil {
		return err
	}
	for _, some := range slices.Backward(levels(all)) {
		if err := each(ctx, some, w.stopOne); err != nil {
			return err
		}
	}
	return nil
}

func (w *Work) stopOne(ctx context.Context, c Container) error {
	seconds := cmp.Or(c.Timeout, stopLimit)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds+stopSlack)*time.Second)
	defer cancel()
	begin := time.Now()
	if err := gone(w.Docker.Stop(ctx, c.ID, seconds)); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	zerolog.Ctx(ctx).Info().Str("container", c.Name).Dur("took", time.Since(begin)).Msg("stopped")
	return nil
}

// gone is no error where the container was removed meanwhile: it runs no more.
func gone(err error) error {
	if errors.Is(err, docker.ErrNotFound) {
		return nil
	}
	return err
}

// start starts the containers, level by level, and waits for the databases of one before the next.
func (w *Work) start(ctx context.Context, all []Container) error {
	w.stage("starting containers")
	for _, some := range levels(all) {
		if err := each(ctx, some, w.startOne); err != nil {
			return err
		}
		if err := each(ctx, some, w.await); err != nil {
			return err
		}
	}
	return nil
}

// startAgain starts what ran before, each whether the others start or not. Nobody waits for databases: they may have been broken
// before. ErrNotStarted: the engine has refused to start some. They are restarted as before all the same.
func (w *Work) startAgain(ctx context.Context, all []Container) error {
	var refused, errs []error
	for _, some := range levels(all) {
		failed := make([]error, len(some))
		var g errgroup.Group
		g.SetLimit(atOnce)
		for i, c := range some {
			g.Go(func() error {
				failed[i] = w.startOne(ctx, c)
				return nil
			})
		}
		_ = g.Wait() // each error is in its place
		for i, err := range failed {
			switch {
			case err == nil:
			case errors.Is(err, docker.ErrUnavailable) || ctx.Err() != nil:
				errs = append(errs, err)
			default:
				refused = append(refused, err)
				errs = append(errs, w.restartAsBefore(ctx, some[i]))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(append(refused, err)...)
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w: %w", ErrNotStarted, errors.Join(refused...))
	}
	return nil
}

// startOne starts a container that ran before. From then on it is restarted as before.
func (w *Work) startOne(ctx context.Context, c Container) error {
	if c.Idle {
		return w.restartAsBefore(ctx, c)
	}
	if err := w.Docker.Start(ctx, c.ID); errors.Is(err, docker.ErrNotFound) {
		zerolog.Ctx(ctx).Warn().Str("container", c.Name).Msg("was removed meanwhile, and is not started")
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return w.restartAsBefore(ctx, c)
}

// restartAsBefore gives a container its restart policy back.
func (w *Work) restartAsBefore(ctx context.Context, c Container) error {
	if c.Restart.Name == noRestart || c.Restart.Name == "" {
		return nil
	}
	return gone(w.Docker.SetRestart(ctx, c.ID, c.Restart))
}

// unused is ErrStarted if a container runs that uses what is replaced: it would go on to use what was there before.
func (w *Work) unused(ctx context.Context, j *Journal) error {
	var paths []string
	for _, it := range j.Items {
		paths = append(paths, it.Paths...)
	}
	users, err := inventory.Users(ctx, w.Docker, paths)
	if errors.Is(err, docker.ErrUnavailable) && len(j.Containers) == 0 {
		return nil // there was no engine to begin with
	}
	var names []string
	for _, c := range users {
		names = append(names, c.Name)
	}
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w, and uses the volumes: %s", ErrStarted, strings.Join(names, ", "))
	}
	return err
}

// ErrNotReady says that a database did not accept connections.
var ErrNotReady = errors.New("the database does not accept connections")

const (
	readyLimit = 10 * time.Minute // recovery after a crash replays at most what one checkpoint interval wrote
	readyPoll  = 50 * time.Millisecond
	// endsTooOften is how often a database has ended and been started again by the engine when it is given up: it is not that it
	// needs time, but that it cannot run on these data. The engine waits longer each time; these are some seconds.
	endsTooOften = 5
)

// await waits until the database in a container answers a query.
func (w *Work) await(ctx context.Context, c Container) error {
	if c.Database == nil {
		return nil
	}
	w.stage("waiting for PostgreSQL in " + c.Name)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(w.ReadyLimit, readyLimit))
	defer cancel()
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	begin := time.Now()
	for {
		said, err := w.ask(ctx, c)
		if err == nil {
			zerolog.Ctx(ctx).Info().Str("container", c.Name).Dur("took", time.Since(begin)).Msg("PostgreSQL accepts connections")
			return nil
		}
		now, err := w.Docker.Inspect(ctx, c.ID)
		if errors.Is(err, docker.ErrNotFound) {
			return nil
		}
		if err == nil && (!now.Running || now.Restarts >= endsTooOften) {
			return fmt.Errorf("%s is %s, started again %d times (docker logs %s): %w: %s", c.Name, now.State, now.Restarts, c.Name, ErrNotReady, said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, after %s: %w: %s: %w", c.Name, time.Since(begin).Round(time.Second), ErrNotReady, said, ctx.Err())
		case <-again.C:
		}
	}
}

// ask asks a database for a sign of life, with what it, or whoever could not ask it, said instead. A server that lets nobody in like
// that accepts connections all the same.
func (w *Work) ask(ctx context.Context, c Container) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	said, err = w.run(ctx, c, "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password",
		"--username="+c.Database.User, "--dbname="+c.Database.Database, "--command=SELECT 1")
	if err == nil {
		return "", nil
	}
	if _, notReady := w.run(ctx, c, "pg_isready", "--quiet", "--timeout=10"); notReady != nil {
		return said, err
	}
	zerolog.Ctx(ctx).Warn().Str("container", c.Name).Str("said", said).Msg("PostgreSQL accepts connections, though not this one")
	return "", nil
}

func (w *Work) run(ctx context.Context, c Container, argv ...string) (said string, err error) {
	res, err := w.Docker.Exec(ctx, c.ID, argv, docker.ExecOptions{Env: []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap", "LC_ALL=C"}})
	if err != nil {
		return err.Error(), err
	}
	if res.Exit != 0 {
		return strings.TrimSpace(cmp.Or(res.Stderr, res.Stdout)), ErrNotReady
	}
	return "", nil
}
