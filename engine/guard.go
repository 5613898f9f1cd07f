package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/snapset"
)

// GuardOptions say what a set is taken before.
type GuardOptions struct {
	Command []string // as it goes into the manifest
	Label   string
	Until   time.Time // when the set's pin has expired
}

// SnapshotBefore is Snapshot before a command that may change the app: the set is pinned until a time, and records what the
// containers ran and, where a database keeps one, at which version of its schema it was.
func (e *Engine) SnapshotBefore(ctx context.Context, app App, opt GuardOptions) (m *snapset.Manifest, err error) {
	err = e.locked(ctx, app.Name, func(lock *state.Lock) error {
		e.stage("looking at what " + app.Name + " runs")
		guard, err := e.guardOf(ctx, app, opt)
		if err != nil {
			return fmt.Errorf("take a set of %s: %w", app.Name, err)
		}
		m, err = e.snapshot(ctx, app, TakeOptions{Label: opt.Label, Pin: driver.Guard(opt.Until), guard: guard}, lock)
		return err
	})
	return m, err
}

// expired reports whether a pin kept its set until a time that has passed.
func expired(pin string, now time.Time) bool {
	until, is := driver.GuardUntil(pin)
	return is && !now.Before(until)
}

// lasting are the pins that keep their set now.
func lasting(pins []string, now time.Time) []string {
	return slices.DeleteFunc(slices.Clone(pins), func(pin string) bool { return expired(pin, now) })
}

// guardOf looks at what runs now.
func (e *Engine) guardOf(ctx context.Context, app App, opt GuardOptions) (*snapset.Guard, error) {
	g := &snapset.Guard{Command: opt.Command, Images: []snapset.Image{}, Expires: opt.Until.UTC()}
	users, err := e.users(ctx, app)
	if err != nil {
		return nil, err
	}
	for _, c := range users {
		one := snapset.Image{Container: c.Name, Image: c.Image, ID: c.ImageID, Digests: []string{}}
		image, err := e.Docker.Image(ctx, c.ImageID)
		if err != nil && !errors.Is(err, docker.ErrNotFound) { // an image may go while its container runs (docker rmi -f)
			return nil, err
		}
		one.Digests = append(one.Digests, image.Digests...)
		g.Images = append(g.Images, one)
	}
	g.Alembic, err = e.alembic(ctx, app, users)
	return g, err
}

// users are the containers that use the app's volumes now; none where there is no engine, and none is needed.
func (e *Engine) users(ctx context.Context, app App) ([]docker.Container, error) {
	inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: app.Project, Volumes: app.Volumes})
	if err != nil {
		return nil, err
	}
	users, err := inventory.Users(ctx, e.Docker, inv.Paths())
	if errors.Is(err, docker.ErrUnavailable) && !slices.ContainsFunc(inv.Volumes, func(v inventory.Volume) bool { return v.Docker }) {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("what containers run is not recorded")
		return nil, nil
	}
	return users, err
}

// alembic is the version of the schemas of the app's databases, as Alembic keeps it: usually one word, empty if there is none.
// That it could not be asked for is no reason to take no set.
func (e *Engine) alembic(ctx context.Context, app App, users []docker.Container) (string, error) {
	databases, err := e.databases(ctx, app, users)
	if err != nil {
		return "", ignoreAway(err)
	}
	var versions []string
	for _, c := range users {
		pg := databases[c.ID]
		if pg == nil || !c.Running || c.Paused || c.Restarting {
			continue
		}
		its, err := e.alembicIn(ctx, c, *pg)
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("container", c.Name).Msg("the version of the schema is not recorded")
		}
		versions = append(versions, its...)
	}
	return strings.Join(versions, ", "), nil
}

func ignoreAway(err error) error {
	if errors.Is(err, docker.ErrUnavailable) {
		return nil
	}
	return err
}

const (
	alembicLimit = 30 * time.Second
	hasAlembic   = `SELECT to_regclass('alembic_version') IS NOT NULL`
	// With branches there are several rows (https://alembic.sqlalchemy.org/en/latest/branches.html). The column holds 32 characters;
	// whoever may change the table decides what comes of it.
	askAlembic = `SELECT left(version_num, 100) FROM alembic_version ORDER BY 1 LIMIT 16`
)

func (e *Engine) alembicIn(ctx context.Context, c docker.Container, pg inventory.Postgres) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, alembicLimit)
	defer cancel()
	has, err := e.query(ctx, c, pg, hasAlembic)
	if err != nil || has != "t" {
		return nil, err
	}
	out, err := e.query(ctx, c, pg, askAlembic)
	return strings.Fields(out), err
}

// query is what psql in a container prints of a query.
func (e *Engine) query(ctx context.Context, c docker.Container, pg inventory.Postgres, sql string) (string, error) {
	res, err := e.Docker.Exec(ctx, c.ID, []string{
		"psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1",
		"--username=" + pg.User, "--dbname=" + pg.Database, "--command=" + sql,
	}, docker.ExecOptions{Env: []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap", "LC_ALL=C"}})
	if err == nil && res.Exit != 0 {
		err = fmt.Errorf("psql: exit status %d: %s", res.Exit, strings.TrimSpace(res.Stderr+res.Stdout))
	}
	return strings.TrimSpace(res.Stdout), err
}

// Replaced is a container that runs another image than when the set was taken, or is there no more.
type Replaced struct {
	snapset.Image
	Now    string // the id of the image now; empty: there is no such container
	As     string // as that was asked for
	Local  bool   // the engine has the old image still
	Tagged bool   // and by the name by which it was asked for
}

// ReplacedSince are the containers of a set's guard whose programs are others by now.
func (e *Engine) ReplacedSince(ctx context.Context, g *snapset.Guard) ([]Replaced, error) {
	if len(g.Images) == 0 {
		return nil, nil
	}
	all, err := e.Docker.Containers(ctx, true)
	if err != nil {
		return nil, err
	}
	var out []Replaced
	for _, was := range g.Images {
		r := Replaced{Image: was}
		if i := slices.IndexFunc(all, func(c docker.Container) bool { return c.Name == was.Container }); i >= 0 {
			r.Now, r.As = all[i].ImageID, all[i].Image
		}
		if r.Now == was.ID {
			continue
		}
		if _, r.Local, err = e.image(ctx, was.ID); err != nil {
			return nil, err
		}
		named, _, err := e.image(ctx, was.Image)
		if err != nil {
			return nil, err
		}
		r.Tagged = named == was.ID
		out = append(out, r)
	}
	return out, nil
}

// image is the id of the image that a name means on this host, if it means one.
func (e *Engine) image(ctx context.Context, name string) (id string, ok bool, err error) {
	i, err := e.Docker.Image(ctx, name)
	if errors.Is(err, docker.ErrNotFound) {
		return "", false, nil
	}
	return i.ID, err == nil, err
}
