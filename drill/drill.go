// Package drill proves that a set can be restored, by restoring it to where nobody sees it and throwing it away again.
//
// # What it does
//
// Each member of the set is cloned (driver.Stager): nothing is copied. PostgreSQL is started on the clone, in a container like the
// app's own or with this host's programs, without network. When it has recovered, its tables, indexes and checksums are checked, files
// that are named for their content are compared with it, and rows that name files with the files.
//
// # What it promises
//
//   - The app is not touched, and no run of it waits: a drill has a lock of its own.
//   - Whatever a drill is about to make is in its journal first, durably. So what a killed one leaves is removed by the next drill of
//     the app, or by the next run (RecoverAll).
//   - A check that could not be made counts as failed. A drill passes when every check did.
package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// What callers branch on.
var (
	ErrFailed  = errors.New("the drill failed") // a check did not pass; the report says which
	ErrNoSet   = errors.New("no such set")
	ErrCannot  = errors.New("cannot be drilled") // by this version, or from here; nothing was done
	ErrLeftBy  = errors.New("what a drill had made is still there")
	ErrDamaged = errors.New("the journal of a drill is damaged")
)

// Docker is what a drill needs of an engine.
type Docker interface {
	inventory.Docker
	Inspect(ctx context.Context, name string) (docker.Container, error)
	Template(ctx context.Context, id string) (docker.Template, error)
	CreateThrowaway(ctx context.Context, t docker.Throwaway) (id string, err error)
	StartThrowaway(ctx context.Context, id string) error
	AwaitEnd(ctx context.Context, id string) (int, error)
	Signal(ctx context.Context, id, signal string) error
	Logs(ctx context.Context, id string) (stdout, stderr string, err error)
	RemoveThrowaway(ctx context.Context, name, label, value string) error
	ExecTo(ctx context.Context, id string, argv []string, opts docker.ExecOptions, stdout io.Writer) (docker.ExecResult, error)
}

// App is what is drilled, as configured.
type App struct {
	Name     string
	Project  string
	Postgres []Postgres    // that the configuration names
	Query    string        // one column of paths below Volume, each of which must be a regular file; empty: none
	User     string        // who asks it; empty: as in Postgres
	Database string        // where; empty: as in Postgres
	Volume   string        // by its name in the set
	Content  string        // how many of the files that are named for their content are read: Sample, Full or None
	Timeout  time.Duration // of PostgreSQL's start, and of the query
}

// Postgres is a server of the app.
type Postgres struct{ Container, User, Database string }

// How many files are read.
const (
	Sample = "sample"
	Full   = "full"
	None   = "none"
)

// Source is where a set lies: on this host, or at a target.
type Source struct {
	Sets    func(ctx context.Context, app string) ([]snapset.Set, error)
	Stager  func(kind string) (driver.Stager, error)
	Records snapset.Store
}

// Request says which set is drilled.
type Request struct {
	From string       // a target; empty: this host
	Set  driver.SetID // empty: the newest
}

// Drill does the work, with what it is given.
type Drill struct {
	Docker   Docker
	Open     func(from string) (Source, error)
	StateDir string
	RunDir   string
	Now      func() time.Time
	Stage    func(name string) // told what is going on, "" when nothing is; may be nil
}

// lockName is the lock's. No app is called so.
func lockName(app string) string { return app + ".drill" }

func (d *Drill) stage(name string) {
	if d.Stage != nil {
		d.Stage(name)
	}
}

// Run drills one set, and records the verdict. The error is ErrFailed with the report of a drill that a check failed, and another one
// without a report that is worth keeping when there was no verdict. ErrLeftBy may come with either, or with a drill that passed.
func (d *Drill) Run(ctx context.Context, app App, req Request) (r report.Drill, err error) {
	defer d.stage("")
	lock, err := state.LockApp(ctx, d.RunDir, lockName(app.Name))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := d.recover(ctx, app.Name); err != nil {
		return r, err
	}
	src, err := d.Open(req.From)
	if err != nil {
		return r, err
	}
	set, err := choose(ctx, src, app.Name, req.Set)
	if err != nil {
		return r, err
	}
	t := &trial{drill: d, app: app, src: src, set: set, began: d.Now(), named: map[string]bool{}}
	t.report = report.Drill{App: app.Name, Set: string(set.ID), From: req.From, Started: t.began.UTC(), Checks: []report.DrillCheck{}}
	err = t.run(ctx)
	left := t.remove(ctx)
	if err != nil {
		return report.Drill{}, errors.Join(err, left)
	}
	t.report.TookMS = ms(d.Now().Sub(t.began))
	t.report.OK = len(t.report.Failed()) == 0
	err = d.record(ctx, src, t.report)
	if !t.report.OK {
		err = errors.Join(fmt.Errorf("%s: %w: %v", set.ID, ErrFailed, t.report.Failed()), err)
	}
	return t.report, errors.Join(err, left) // what is left does not change the verdict
}

// choose finds the set. The newest one counts though it is damaged: that is what a drill is to find out.
func choose(ctx context.Context, src Source, app string, id driver.SetID) (snapset.Set, error) {
	sets, err := src.Sets(ctx, app)
	for _, s := range slices.Backward(sets) {
		if id == "" && err != nil {
			break // there may be a newer one
		}
		if s.ID == id || id == "" && !s.LeftOver {
			return s, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%s: %w", cmp.Or(string(id), app), ErrNoSet)
	}
	return snapset.Set{}, err
}

// record writes the verdict where it is looked for. A set that has been pruned meanwhile stays so.
func (d *Drill) record(ctx context.Context, src Source, r report.Drill) error {
	verdict := snapset.Drill{Time: r.Started, OK: r.OK, From: r.From, ReadyMS: r.ReadyMS, Failed: r.Failed()}
	stores := []snapset.Store{src.Records}
	if here := (snapset.Store{Dir: d.StateDir}); here != src.Records {
		stores = append(stores, here)
	}
	var errs []error
	for _, s := range stores {
		if err := s.SweepSet(driver.SetID(r.Set)); err != nil { // of a drill that was killed just here
			errs = append(errs, err)
			continue
		}
		known, err := s.AddDrill(driver.SetID(r.Set), verdict)
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("could not add the verdict to the set's manifest")
			errs = append(errs, err)
		} else if !known {
			zerolog.Ctx(ctx).Debug().Str("dir", s.Dir).Msg("there is no manifest to add the verdict to")
		}
	}
	return errors.Join(append(errs, report.SaveDrill(d.StateDir, r))...)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
