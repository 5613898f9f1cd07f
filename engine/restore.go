package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// RestoreOptions say what is restored.
type RestoreOptions struct {
	Volumes []string // those of the set that are meant; none: all
	From    *From    // where the set is fetched from; nil: it is on this host
}

// PlanRestore finds out what a restore of a set in place would do, and changes nothing. ErrRefused says what keeps it from being
// done.
func (e *Engine) PlanRestore(ctx context.Context, app App, id driver.SetID, opt RestoreOptions) (*restore.Plan, error) {
	j, err := restore.Read(e.Store.Dir, app.Name)
	if err == nil && j != nil {
		err = fmt.Errorf("%w: of %s, begun at %s; it is ended or undone first", restore.ErrUnfinished, j.Set, j.Begun.Format(time.RFC3339))
	}
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", id, err)
	}
	s, _, err := e.toRestore(ctx, id, opt)
	if err != nil {
		return nil, err
	}
	p, err := e.planRestore(ctx, app, s, opt)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", id, err)
	}
	return p, nil
}

// toRestore finds the set, on this host or at a target.
func (e *Engine) toRestore(ctx context.Context, id driver.SetID, opt RestoreOptions) (snapset.Set, *replica, error) {
	if opt.From == nil {
		s, err := e.Set(ctx, id)
		return s, nil, err
	}
	r, err := replicaOf(ctx, *opt.From, id)
	if err != nil {
		return snapset.Set{}, nil, err
	}
	return r.set, r, nil
}

// PlannedRestore is what a plan comes to, if nothing fails.
func PlannedRestore(p *restore.Plan) report.Restore {
	return report.Restore{
		Set: string(p.Set), Mode: report.InPlace, DryRun: true, Members: membersOf(p.Items), Containers: containerNames(p.Containers), Kept: []string{},
	}
}

func containerNames(all []restore.Container) []string {
	names := []string{}
	for _, c := range all {
		if !c.Idle {
			names = append(names, c.Name)
		}
	}
	return names
}

// RestoreInPlace puts the state of a set where the app's volumes are, and keeps the present one as an undo set. On error
// all is as it was (restore.ErrUndone), or nothing was begun, or a journal is there (restore.ErrUnfinished), and the next call deals
// with that first, as it does with what a killed one left.
func (e *Engine) RestoreInPlace(ctx context.Context, app App, id driver.SetID, opt RestoreOptions) (r report.Restore, err error) {
	r = report.Restore{Set: string(id), Mode: report.InPlace, Members: []report.RestoredMember{}, Containers: []string{}, Kept: []string{}}
	err = e.locked(ctx, app.Name, func(lock *state.Lock) error {
		w := e.restoring(app, id, lock)
		done, err := e.resumeRestore(ctx, w, app, id, opt.Volumes, &r)
		if err != nil || done {
			return err
		}
		s, from, err := e.toRestore(ctx, id, opt)
		if err != nil {
			return err
		}
		p, err := e.planRestore(ctx, app, s, opt)
		if err != nil {
			return err
		}
		if from != nil {
			if err := e.fetchItems(ctx, from, p); err != nil {
				return err
			}
			if p.Record, err = json.Marshal(brought{from.set.Manifest, from.set.Recorded}); err != nil {
				return err
			}
		}
		out, err := w.Run(ctx, *p)
		if err != nil {
			return err
		}
		r.Members = membersOf(p.Items)
		restored(&r, out)
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", id, err)
	}
	return r, nil
}

// fetchItems brings the replicas that a plan is about to this host.
func (e *Engine) fetchItems(ctx context.Context, from *replica, p *restore.Plan) error {
	p.Fetched = true
	for i := range p.Items {
		got, err := e.fetchOne(ctx, from, p.Items[i].Snapshot.GUID, p.Items[i].Dataset)
		if err != nil {
			return err
		}
		p.Items[i].Snapshot = got
	}
	return nil
}

// resumeRestore deals with a restore that did not end. done: it was of the same set and volumes, has ended now, and nobody has worked on
// them since.
func (e *Engine) resumeRestore(
	ctx context.Context, w *restore.Work, app App, id driver.SetID, asked []string, r *report.Restore,
) (done bool, err error) {
	j, err := restore.Read(e.Store.Dir, app.Name)
	if err != nil || j == nil {
		return false, err
	}
	items, ran := j.Items, e.anyRuns(ctx, j.Containers)
	ended, out, err := w.Resume(ctx, j)
	switch {
	case err != nil:
		return false, err
	case !ended:
		zerolog.Ctx(ctx).Warn().Str("set", string(j.Set)).Msg("undid the restore that had been killed")
		return false, nil
	}
	zerolog.Ctx(ctx).Warn().Str("set", string(j.Set)).Str("undo", string(j.Undo)).Msg("brought the restore that had been killed to its end")
	if j.Set != id || !theSame(j.Asked, asked) || ran {
		return false, nil
	}
	r.Members = membersOf(items)
	restored(r, out)
	return true, nil
}

// anyRuns reports whether one of the containers runs: what it uses may be what a restore put there no more.
func (e *Engine) anyRuns(ctx context.Context, all []restore.Container) bool {
	return slices.ContainsFunc(all, func(c restore.Container) bool {
		now, err := e.Docker.Inspect(ctx, c.ID)
		return err == nil && now.Running
	})
}

func restored(r *report.Restore, out restore.Result) {
	r.Undo, r.Containers, r.Kept = string(out.Undo), containerNames(out.Containers), out.Kept
	if out.Ready != nil {
		ms := milliseconds(*out.Ready)
		r.ReadyMS = &ms
	}
}

func membersOf(items []restore.Item) []report.RestoredMember {
	out := []report.RestoredMember{}
	for _, it := range items {
		for i, v := range it.Volumes {
			out = append(out, report.RestoredMember{
				Volume: v, Driver: it.Snapshot.Dataset.Kind, Dataset: it.Dataset.Name, HostPath: it.Paths[i], Method: string(it.Method),
			})
		}
	}
	return out
}

// storages are the drivers that can restore, by kind.
func (e *Engine) storages() map[string]restore.Storage {
	all := map[string]restore.Storage{}
	for _, d := range e.Drivers {
		if s, ok := d.(restore.Storage); ok {
			all[d.Kind()] = s
		}
	}
	return all
}

// restoring is what a restore of the app works with; the app's lock is held.
func (e *Engine) restoring(app App, id driver.SetID, lock *state.Lock) *restore.Work {
	w := &restore.Work{
		Docker: e.Docker, Storages: e.storages(), StateDir: e.Store.Dir, Mounts: e.mounts(), Now: e.Now, Stage: e.stage,
		Fetched: e.fetched, Restored: e.keepBrought,
	}
	w.Users = func(ctx context.Context) ([]restore.Container, error) {
		inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: app.Project, Volumes: app.Volumes})
		if err != nil {
			return nil, err
		}
		return e.planStop(ctx, app, inv)
	}
	w.TakeUndo = func(ctx context.Context) (restore.Undo, error) {
		m, err := e.snapshot(ctx, asUndo(app), TakeOptions{Label: driver.Undo(id), Pin: driver.Undo(id), undo: true}, lock)
		if err != nil {
			return restore.Undo{}, err
		}
		return w.FindUndo(ctx, m.ID)
	}
	w.FindUndo = func(ctx context.Context, id driver.SetID) (restore.Undo, error) {
		s, err := e.Set(ctx, id)
		if errors.Is(err, ErrNoSet) {
			err = fmt.Errorf("%w: %w", restore.ErrNoUndo, err)
		} else if err == nil && !s.Complete {
			err = fmt.Errorf("%w: %s is not complete: %v", restore.ErrNoUndo, id, s.Manifest.Faults)
		}
		return restore.Undo{ID: s.ID, Taken: s.ID.Time(), Snapshots: s.Snapshots}, err
	}
	return w
}
