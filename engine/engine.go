// Package engine is where the stages of a run meet: plan, take, prune. Everything else knows only its own part.
//
// # Plan, then run
//
// Plan looks and changes nothing; what it says is what Snapshot and Run do. Whatever Plan can tell beforehand is refused
// before anything is touched.
//
// # What a killed run leaves
//
// Every entry point that changes something takes the app's lock, thaws what the journal of a dead run names, and removes the
// unsealed members that a dead run left. No other clean-up exists, and none is needed.
package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// What callers branch on.
var (
	ErrRefused  = errors.New("refused")              // the plan holds errors; nothing was changed
	ErrNoSet    = errors.New("no such set")          //
	ErrUnproved = errors.New("order was not proved") // not_older_than could not be shown; the set was given up
	ErrCareful  = errors.New("nothing was removed")  // pruning stopped before it began
	ErrUnlisted = errors.New("not all snapshots of this host could be listed")
	ErrPinned   = errors.New("pinned") //
	ErrFetched  = errors.New("its sets are taken on another host")
)

// App is what is kept recoverable, as configured.
type App struct {
	Name    string
	Project string
	Volumes []inventory.VolumeSpec
	Freeze  Freeze
	Keep    retention.Policy
	Targets []Target // that its sets are sent to
	Origin  Origin   // of its sets; nil: this host
}

// Freeze says how the app's writers are brought to hold still.
type Freeze struct {
	Limit time.Duration
	Steps []Step
}

// Step is one of its fields.
type Step struct {
	Postgres *PostgresStep
	Exec     *ExecStep
	Pause    *PauseStep
}

// PostgresStep asks for a CHECKPOINT.
type PostgresStep struct {
	Container, User, Database string
	Timeout                   time.Duration
}

// ExecStep runs commands in a container.
type ExecStep struct {
	Container    string
	Freeze, Thaw []string
	Timeout      time.Duration
}

// PauseStep pauses the named containers, or all that can write when none are named.
type PauseStep struct{ Containers []string }

// Docker is what the engine and the packages below it need of a Docker engine.
type Docker interface {
	inventory.Docker
	quiesce.Docker
	restore.Docker
	restore.DockerVolumes
	DataRoot(ctx context.Context) (string, error)
	Image(ctx context.Context, name string) (docker.Image, error)
	Events(ctx context.Context, since, until time.Time) ([]docker.Event, error)
}

// Engine does the work, with what it is given.
type Engine struct {
	Drivers []driver.Driver
	Docker  Docker
	Store   snapset.Store
	RunDir  string
	DeadMan func(journal string) []string // the command line of a dead-man for that journal
	Zone    *time.Location                // of calendar rules
	Now     func() time.Time
	Stage   func(name string)        // told what is going on, "" when nothing is; may be nil
	Sending func(replicate.Progress) // told how far a stage of sending is; may be nil
}

func (e *Engine) stage(name string) {
	if e.Stage != nil {
		e.Stage(name)
	}
}

// mounts is below which snapshots are mounted to be read.
func (e *Engine) mounts() string { return filepath.Join(e.RunDir, "mounts") }

// locked calls fn with the app's lock held, after what a dead run left was thawed and removed.
func (e *Engine) locked(ctx context.Context, app string, fn func(*state.Lock) error) (err error) {
	defer e.stage("")
	e.stage("waiting for the lock of " + app)
	lock, err := state.LockApp(ctx, e.RunDir, app)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	e.stage("cleaning up after dead runs of " + app)
	if err := e.recoverFreeze(ctx, app); err != nil {
		return err
	}
	if err := Release(ctx, e.Drivers); err != nil {
		// Of another app's storage, perhaps. Where it is this one's, the plan finds it held up, and refuses.
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not resume all that dead runs may have left suspended")
	}
	if err := driver.SweepLooks(e.mounts()); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not unmount what a dead verify had left mounted, which keeps that from being pruned")
	}
	if err := e.removeLeftOvers(ctx, app); err != nil {
		return err
	}
	if err := restore.StagesOf(e.Store.Dir, app).Remove(ctx, e.storages()); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("something of a killed restore is left behind")
	}
	if err := errors.Join(quiesce.JournalOf(e.RunDir, app).Sweep(), e.Store.Sweep(app), restore.Sweep(e.Store.Dir, app)); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	return fn(lock)
}

// recoverLimit is how long a thaw is tried for a dead run. The journal stays, and whoever comes next tries again.
const recoverLimit = time.Minute

func (e *Engine) thaw(ctx context.Context, app string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	return quiesce.Recover(ctx, e.Docker, quiesce.JournalOf(e.RunDir, app))
}

func (e *Engine) recoverFreeze(ctx context.Context, app string) error {
	thawed, err := e.thaw(ctx, app)
	if len(thawed) > 0 {
		zerolog.Ctx(ctx).Warn().Strs("containers", thawed).Msg("thawed what a dead run had left paused")
	}
	return err
}

// Release lets go whatever the storages hold up for snapshots whose makers are dead.
func Release(ctx context.Context, drivers []driver.Driver) error {
	var errs []error
	for _, d := range drivers {
		r, ok := d.(driver.Releaser)
		if !ok {
			continue
		}
		released, err := r.Release(ctx)
		if len(released) > 0 {
			zerolog.Ctx(ctx).Warn().Strs("datasets", released).Msg("resumed what a dead run had left suspended")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeLeftOvers destroys the unsealed sets of app. The caller has the lock, so none of them is in the making. What cannot be
// removed, or not even be listed (a pool of another app hangs, say), counts for nothing, and keeps no new set from being taken.
func (e *Engine) removeLeftOvers(ctx context.Context, app string) error {
	sets, err := e.Sets(ctx, app)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not look for what unfinished runs have left")
		return ctx.Err()
	}
	for _, s := range sets {
		if !s.LeftOver {
			continue
		}
		if err := e.destroy(ctx, s); err != nil {
			err = mountRecordsIn(e.RunDir).stays(s.ID, false, err)
			zerolog.Ctx(ctx).Warn().Err(err).Str("set", string(s.ID)).Msg("could not remove all that an unfinished run or removal had left")
			continue
		}
		zerolog.Ctx(ctx).Warn().Str("set", string(s.ID)).Msg("removed what an unfinished run or removal had left")
	}
	return nil
}

// Thaw lets go what dead runs of app left paused, and reports the containers. It needs the lock: what a live run has
// paused is that run's to thaw.
func (e *Engine) Thaw(ctx context.Context, app string) (thawed []string, err error) {
	j := quiesce.JournalOf(e.RunDir, app)
	if rec, err := j.Read(); err == nil && rec == nil {
		return nil, nil
	}
	lock, err := state.LockApp(ctx, e.RunDir, app)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return e.thaw(ctx, app)
}
