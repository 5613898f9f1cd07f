package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
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
		}
		out, err := w.Run(ctx, *p)
		if err != nil {
			return err
		}
		e.adopt(ctx, from, p)
		e.forgetItems(ctx, p)
		e.keepManifest(ctx, from)
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

func (e *Engine) forgetItems(ctx context.Context, p *restore.Plan) {
	if !p.Fetched {
		return
	}
	for _, it := range p.Items {
		e.forgetFetched(ctx, it.Snapshot, it.Dataset)
	}
}

// keepManifest keeps the manifest of a set that was fetched, if that is on this host again.
func (e *Engine) keepManifest(ctx context.Context, from *replica) {
	if from == nil || !from.set.Recorded {
		return
	}
	s, err := e.Set(ctx, from.set.ID)
	if err == nil && s.Complete && !s.Recorded {
		m := *from.set.Manifest
		err = e.Store.Write(&m)
	}
	if err != nil && !errors.Is(err, ErrNoSet) {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not keep the manifest of the set")
	}
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
		Fetched: e.fetched,
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

// planRestore decides what is replaced, and how.
func (e *Engine) planRestore(ctx context.Context, app App, s snapset.Set, opt RestoreOptions) (*restore.Plan, error) {
	if !s.Complete {
		return nil, fmt.Errorf("%w: it is not complete: %s", ErrRefused, strings.Join(s.Manifest.Faults, "; "))
	}
	chosen, err := chooseVolumes(s, opt.Volumes)
	if err != nil {
		return nil, err
	}
	inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: app.Project, Volumes: app.Volumes})
	if errors.Is(err, inventory.ErrNotFound) {
		return nil, fmt.Errorf("%w (a volume that was removed has to be there, empty, to be restored in place: `docker compose create`, or --to)", err)
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(inOrder(s, inv, chosen), replaceable(inv, chosen)); err != nil {
		return nil, err
	}
	p := &restore.Plan{App: app.Name, Set: s.ID, Asked: opt.Volumes}
	var problems []error
	for _, m := range s.Snapshots {
		items, err := e.planItems(ctx, m, inv, chosen, opt.From != nil)
		problems = append(problems, err)
		p.Items = append(p.Items, items...)
	}
	p.Items, err = withinOthers(p.Items)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if p.Containers, err = e.planStop(ctx, app, inv); err != nil {
		return nil, err
	}
	return p, e.undoable(ctx, app)
}

// chooseVolumes are the volumes of the set that are meant.
func chooseVolumes(s snapset.Set, names []string) (map[string]bool, error) {
	chosen := map[string]bool{}
	var all []string
	for _, m := range s.Manifest.Members {
		all = append(all, m.Volume)
		if len(names) == 0 {
			chosen[m.Volume] = true
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%w: %q is no volume of the set, which has: %s", ErrNoVolume, name, strings.Join(all, ", "))
		}
		chosen[name] = true
	}
	return chosen, nil
}

// ErrNoVolume says that a set has no such volume.
var ErrNoVolume = errors.New("no such volume")

// planItems are what of one snapshot is restored.
func (e *Engine) planItems(
	ctx context.Context, m driver.Snapshot, inv inventory.Inventory, chosen map[string]bool, fetched bool,
) ([]restore.Item, error) {
	var wanted []driver.Volume
	for _, v := range m.Volumes {
		if chosen[v.Name] {
			wanted = append(wanted, v)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	d, err := e.driver(m.Dataset.Kind)
	if err != nil {
		return nil, err
	}
	if _, ok := d.(restore.Storage); !ok {
		return nil, fmt.Errorf("%s: this version restores no %s in place", m.Dataset, m.Dataset.Kind)
	}
	places := map[string]driver.Place{}
	paths := map[string]string{}
	for _, v := range wanted {
		i := slices.IndexFunc(inv.Volumes, func(have inventory.Volume) bool { return have.Name == v.Name })
		if i < 0 {
			return nil, fmt.Errorf("%s is no volume of the app any more, and has no place: add it to the configuration, or restore it beside (--to)", v.Name)
		}
		paths[v.Name] = inv.Volumes[i].HostPath
		if places[v.Name], _, err = e.resolve(ctx, inv.Volumes[i].HostPath); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
	}
	on := m.Dataset
	if fetched { // into whatever dataset the volume is now
		on = places[wanted[0].Name].Dataset
	}
	it, ok, err := swapOf(m, on, wanted, places, paths)
	if err != nil {
		return nil, err
	}
	var cannot error
	if checker, has := d.(driver.SwapChecker); ok && has {
		if cannot = checker.CheckSwap(ctx, on); cannot != nil && !errors.Is(cannot, driver.ErrNotSupported) {
			return nil, cannot
		}
	}
	if ok && cannot == nil {
		return []restore.Item{it}, nil
	}
	var items []restore.Item
	var problems []error
	for _, v := range wanted {
		if places[v.Name].Path == "." && cannot != nil {
			problems = append(problems, fmt.Errorf("%s: %w: it can only be restored beside (--to)", v.Name, cannot))
			continue
		}
		if places[v.Name].Path == "." {
			problems = append(problems, fmt.Errorf("%s is all of %s, and in the set it is %s in %s: it can only be restored beside (--to)",
				v.Name, places[v.Name].Dataset, v.Path, m.Dataset))
			continue
		}
		items = append(items, restore.Item{
			Method: restore.Copy, Volumes: []string{v.Name}, Paths: []string{paths[v.Name]}, Snapshot: m,
			Dataset: places[v.Name].Dataset, Inside: v.Path,
		})
	}
	return items, errors.Join(problems...)
}

// swapOf is the swap of a whole dataset, if all that is in it is restored from one snapshot.
func swapOf(
	m driver.Snapshot, on driver.Dataset, wanted []driver.Volume, places map[string]driver.Place, paths map[string]string,
) (it restore.Item, ok bool, err error) {
	it = restore.Item{Method: restore.Swap, Snapshot: m, Dataset: on}
	top := ""
	var inside []string
	for _, v := range wanted {
		at := places[v.Name]
		if at.Dataset != on || at.Path != v.Path {
			return it, false, nil
		}
		top = strings.TrimSuffix(paths[v.Name], "/"+v.Path)
		inside = append(inside, v.Path)
		it.Volumes, it.Paths = append(it.Volumes, v.Name), append(it.Paths, paths[v.Name])
	}
	alone, err := nothingElse(top, inside)
	return it, alone, err
}

// nothingElse reports whether a directory holds nothing but what lies at the given paths in it, what Docker keeps beside the
// data of a volume, and what mkfs(8) makes.
func nothingElse(top string, inside []string) (bool, error) {
	if slices.Contains(inside, ".") {
		return true, nil
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		var below []string
		whole := false
		for _, path := range inside {
			first, rest, more := strings.Cut(path, "/")
			if first != entry.Name() {
				continue
			}
			whole = whole || !more
			below = append(below, rest)
		}
		switch {
		case whole, len(below) == 0 && entry.Name() == "opts.json" && slices.Contains(inside, "_data"):
		case len(below) == 0 && entry.Name() == "lost+found" && entry.IsDir():
			if empty, err := isEmpty(filepath.Join(top, entry.Name())); err != nil || !empty {
				return false, err
			}
		case len(below) == 0 || entry.Type()&fs.ModeDir == 0:
			return false, nil
		default:
			if alone, err := nothingElse(filepath.Join(top, entry.Name()), below); !alone || err != nil {
				return alone, err
			}
		}
	}
	return true, nil
}

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
