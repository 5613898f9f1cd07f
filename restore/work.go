package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
)

// Undo is a set of the present state.
type Undo struct {
	ID        driver.SetID
	Taken     time.Time // before the first of its snapshots was made
	Snapshots []driver.Snapshot
}

// Work is what a restore works with.
type Work struct {
	Docker     Docker
	Storages   map[string]Storage                                    // by kind
	Fetched    func(context.Context, driver.Dataset) (Source, error) // the place in the pool of a dataset to which replicas were fetched
	StateDir   string
	Users      func(context.Context) ([]Container, error)        // those that are stopped, as they are when it is called
	Mounts     string                                            // an existing or new directory, below which snapshots are mounted to be read
	TakeUndo   func(context.Context) (Undo, error)               // takes the undo set; the containers are stopped
	FindUndo   func(context.Context, driver.SetID) (Undo, error) // finds it again
	Restored   func(context.Context, *Journal)                   // told when all is in its place; may be called again for the same
	Now        func() time.Time
	ReadyLimit time.Duration // how long a database is waited for; 0: 10 minutes
	Stage      func(string)  // told what is going on; may be nil
}

func (w *Work) stage(what string) {
	if w.Stage != nil {
		w.Stage(what)
	}
}

// Run carries a plan out. On error all is as it was before (ErrUndone), unless the error says that this failed too: then a
// journal is there, and Resume goes on.
func (w *Work) Run(ctx context.Context, p Plan) (Result, error) {
	begin := time.Now()
	j := &Journal{
		Version: journalVersion, App: p.App, Set: p.Set, Begun: w.Now().UTC(), Phase: Preparing,
		Fetched: p.Fetched, Record: p.Record, Asked: p.Asked, Items: slices.Clone(p.Items), path: PathOf(w.StateDir, p.App),
	}
	if err := w.name(ctx, j); err != nil {
		return Result{}, err
	}
	if err := j.write(); err != nil {
		return Result{}, err
	}
	err := w.prepare(ctx, j)
	if err == nil {
		err = w.place(ctx, j)
	}
	if err == nil {
		err = w.start(ctx, j.Containers)
	}
	if err != nil {
		return Result{Undo: j.Undo}, w.giveUp(ctx, j, err)
	}
	took := time.Since(begin)
	r, err := w.clean(ctx, j)
	if slices.ContainsFunc(j.Containers, func(c Container) bool { return c.Database != nil }) {
		r.Ready = &took
	}
	return r, err
}

// giveUp undoes a restore that failed because of err.
func (w *Work) giveUp(ctx context.Context, j *Journal, err error) error {
	zerolog.Ctx(ctx).Error().Err(err).Str("set", string(j.Set)).Msg("undoing the restore")
	undoErr := w.undo(context.WithoutCancel(ctx), j)
	switch {
	case undoErr == nil:
		return fmt.Errorf("%w: %w", ErrUndone, err)
	case errors.Is(undoErr, ErrNotStarted):
		return fmt.Errorf("%w: %w; but %w", ErrUndone, err, undoErr)
	}
	return fmt.Errorf("%w: %w; and undoing it: %w", ErrUnfinished, err, undoErr)
}

// Resume deals with what a killed restore left, and reports whether that came to its end; if not, it was undone.
func (w *Work) Resume(ctx context.Context, j *Journal) (done bool, r Result, err error) {
	zerolog.Ctx(ctx).Warn().Str("set", string(j.Set)).Str("phase", string(j.Phase)).Msg("a restore was killed")
	if j.Phase == Starting {
		if err := w.start(ctx, j.Containers); err != nil {
			return false, Result{}, w.giveUpLater(ctx, j, err)
		}
	}
	if j.Phase == Starting || j.Phase == Cleaning {
		r, err := w.clean(ctx, j)
		return err == nil, r, err
	}
	err = w.undo(ctx, j)
	if errors.Is(err, ErrNotStarted) {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("undid a restore, after which not all runs that had run")
		err = nil
	}
	if err != nil {
		return false, Result{}, fmt.Errorf("%w: undoing it: %w", ErrUnfinished, err)
	}
	return false, Result{}, nil
}

// giveUpLater is giveUp for a restore whose containers somebody may have started since it was killed: what they have written is kept too.
func (w *Work) giveUpLater(ctx context.Context, j *Journal, err error) error {
	keepErr := w.stop(ctx, j.Containers)
	if keepErr == nil {
		_, keepErr = w.TakeUndo(ctx)
	}
	if keepErr != nil {
		return fmt.Errorf("%w: %w; and to keep what is there now, before it is undone: %w", ErrUnfinished, err, keepErr)
	}
	return w.giveUp(ctx, j, err)
}

// name decides where what is to come will be made: where nothing is.
func (w *Work) name(ctx context.Context, j *Journal) error {
	name := "restore-" + j.Begun.Format("20060102T150405.000")
	for i := range j.Items {
		it := &j.Items[i]
		it.Name = name
		from, err := w.source(ctx, j.Fetched, it.Snapshot, it.Dataset)
		if err != nil {
			return err
		}
		switch it.Method {
		case Swap:
			it.Stage, err = from.StageOf(it.Snapshot, name)
		case Copy:
			it.Aside = filepath.Join(filepath.Dir(it.Paths[0]), fmt.Sprintf(".volsnap-%s-%d", name, i+1))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prepare makes what is to come, while the containers run: it comes from snapshots alone, and copying may take long.
func (w *Work) prepare(ctx context.Context, j *Journal) error {
	w.stage("preparing the state of " + string(j.Set))
	for i := range j.Items {
		if err := w.make(ctx, j.Fetched, &j.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// place stops the containers, keeps the present state, and puts the new one in its place. The journal is in the phase Starting
// afterwards.
func (w *Work) place(ctx context.Context, j *Journal) error {
	users, err := w.Users(ctx)
	if err != nil {
		return err
	}
	j.Containers, j.Phase = users, Stopping
	if err := j.write(); err != nil {
		return err
	}
	if err := w.stop(ctx, j.Containers); err != nil {
		return err
	}
	w.stage("keeping the present state")
	undo, err := w.TakeUndo(ctx)
	if err != nil {
		return fmt.Errorf("keep the present state: %w", err)
	}
	j.Undo = undo.ID
	if err := j.write(); err != nil {
		return err
	}
	for i := range j.Items {
		if err := w.identify(ctx, &j.Items[i]); err != nil {
			return err
		}
	}
	if err := w.unused(ctx, j); err != nil {
		return err
	}
	j.Phase = Placing
	if err := j.write(); err != nil {
		return err
	}
	w.stage("replacing volumes")
	for _, it := range j.Items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.put(ctx, it, it.New); err != nil {
			return err
		}
	}
	if err := w.unused(ctx, j); err != nil { // what was started before a volume was replaced sees the old one
		return err
	}
	j.Phase = Starting
	return j.write()
}

// make makes what is to come, and notes what it is.
func (w *Work) make(ctx context.Context, fetched bool, it *Item) error {
	begin := time.Now()
	from, err := w.source(ctx, fetched, it.Snapshot, it.Dataset)
	switch {
	case err != nil:
	case it.Method == Swap:
		if fetched {
			err = w.volumesIn(ctx, from, it.Snapshot)
		}
		if err == nil {
			err = w.makeStage(ctx, from, it)
		}
	default:
		err = w.makeCopy(ctx, from, it)
	}
	if err != nil {
		return fmt.Errorf("prepare %q: %w", it.Volumes, err)
	}
	zerolog.Ctx(ctx).Info().Strs("volumes", it.Volumes).Str("method", string(it.Method)).Dur("took", time.Since(begin)).Msg("prepared")
	return nil
}

// source is what holds a snapshot.
func (w *Work) source(ctx context.Context, fetched bool, s driver.Snapshot, ds driver.Dataset) (Source, error) {
	if fetched {
		return w.Fetched(ctx, ds)
	}
	from, ok := w.Storages[s.Dataset.Kind]
	if !ok {
		return nil, fmt.Errorf("%s: no driver for it: %w", s.Dataset, driver.ErrNotSupported)
	}
	return from, nil
}

// identify notes what is there and will be replaced.
func (w *Work) identify(ctx context.Context, it *Item) (err error) {
	if it.Method == Swap {
		it.Old, err = w.Storages[it.Dataset.Kind].Identity(ctx, it.Dataset)
	} else {
		it.Old, err = fileIdentity(it.Paths[0])
	}
	if err != nil {
		return fmt.Errorf("%q: %w", it.Volumes, err)
	}
	return nil
}

func (w *Work) makeStage(ctx context.Context, from Source, it *Item) error {
	made, err := from.Stage(ctx, it.Snapshot, it.Name)
	if err != nil {
		return err
	}
	it.New = made.GUID
	return nil
}

func (w *Work) makeCopy(ctx context.Context, from Source, it *Item) error {
	err := driver.Look(ctx, from, it.Snapshot, w.Mounts, func(at string) error {
		file, err := beneath(at, it.Inside)
		if err != nil {
			return err
		}
		return copyOut(ctx, file, it.Aside)
	})
	if err != nil {
		return err
	}
	it.New, err = fileIdentity(it.Aside)
	return err
}

// put puts the one or the other in its place.
func (w *Work) put(ctx context.Context, it Item, which string) error {
	var err error
	if it.Method == Swap {
		err = w.Storages[it.Dataset.Kind].Swap(ctx, it.Dataset, it.Stage, which)
	} else {
		err = exchange(it.Paths[0], it.Aside, which)
	}
	if err != nil {
		return fmt.Errorf("replace %q: %w", it.Volumes, err)
	}
	return nil
}

// undo puts everything back, removes what was made, and starts what was stopped. It may be called at any phase before Cleaning, again
// and again.
func (w *Work) undo(ctx context.Context, j *Journal) error {
	if j.Phase == Preparing { // nothing was stopped
		if err := w.removeMade(ctx, j); err != nil {
			return err
		}
		return j.remove()
	}
	// Stopped once more, whatever the phase: the engine goes on with a stop that nobody waits for any more, and a start before its end
	// would come to nothing.
	err := w.stop(ctx, j.Containers)
	if j.Phase != Stopping {
		if err == nil {
			err = w.putBack(ctx, j)
		}
		if err != nil {
			return err
		}
	}
	notStarted := w.startAgain(ctx, j.Containers)
	if notStarted != nil && !errors.Is(notStarted, ErrNotStarted) {
		return notStarted
	}
	j.Phase = Preparing // whatever keeps the rest from being removed, the app runs
	if err := j.write(); err != nil {
		return err
	}
	if err := w.removeMade(ctx, j); err != nil {
		return err
	}
	return errors.Join(notStarted, j.remove())
}

// putBack puts what was there before back in its place.
func (w *Work) putBack(ctx context.Context, j *Journal) error {
	w.stage("undoing the restore")
	for _, it := range slices.Backward(j.Items) {
		if err := w.put(ctx, it, it.Old); err != nil {
			return err
		}
	}
	j.Phase = Stopping
	return j.write()
}

// removeMade removes all that was made, none of which is in its place.
func (w *Work) removeMade(ctx context.Context, j *Journal) error {
	for _, it := range j.Items {
		if err := w.remove(ctx, it); err != nil {
			return fmt.Errorf("remove what was prepared for %q: %w", it.Volumes, err)
		}
	}
	return nil
}

// remove removes what was made and is not in its place. What has the name that is noted in the journal and not the identity of
// what was there before, was made for this.
func (w *Work) remove(ctx context.Context, it Item) error {
	if it.Method == Copy {
		return w.removeCopy(it)
	}
	by := w.Storages[it.Dataset.Kind]
	guid, err := by.Identity(ctx, it.Stage)
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if guid == it.Old {
		return fmt.Errorf("%s is what was there before: %w", it.Stage, driver.ErrForeign)
	}
	return by.Discard(ctx, driver.Stage{Dataset: it.Stage, GUID: guid}, nil)
}

func (w *Work) removeCopy(it Item) error {
	is, err := fileIdentity(it.Aside)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if is == it.Old {
		return fmt.Errorf("%s is what was there before: %w", it.Aside, driver.ErrForeign)
	}
	return os.RemoveAll(it.Aside)
}

// clean removes what was replaced, of which the undo set has all. What has changed since that was taken stays.
func (w *Work) clean(ctx context.Context, j *Journal) (Result, error) {
	j.Phase = Cleaning
	if err := j.write(); err != nil {
		return Result{}, err
	}
	r := Result{Undo: j.Undo, Containers: j.Containers, Kept: []string{}}
	w.stage("removing what was replaced")
	undo, noUndo := w.FindUndo(ctx, j.Undo)
	if noUndo != nil && !errors.Is(noUndo, ErrNoUndo) {
		return r, fmt.Errorf("all of %s is in its place, but what it replaced is there still: %w", j.Set, noUndo)
	}
	for _, it := range j.Items {
		where, err := it.aside(), noUndo
		if err == nil {
			err = w.discard(ctx, it, undo)
		}
		if ctx.Err() != nil {
			return r, errors.Join(err, ctx.Err())
		}
		if err != nil { // all is in its place, and runs: that something is left over is no reason to stop
			r.Kept = append(r.Kept, fmt.Sprintf("%s: %s", where, err))
		}
	}
	if w.Restored != nil {
		w.Restored(ctx, j)
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	return r, j.remove()
}

// aside is where what was replaced is.
func (it Item) aside() string {
	if it.Method == Copy {
		return it.Aside
	}
	return it.Stage.String()
}

// discard removes what was replaced.
func (w *Work) discard(ctx context.Context, it Item, undo Undo) error {
	if it.Method == Copy {
		is, err := fileIdentity(it.Aside)
		if errors.Is(err, os.ErrNotExist) || err == nil && is != it.Old {
			return nil
		}
		if err != nil {
			return err
		}
		return removeUnchanged(it.Aside, undo.Taken)
	}
	at := slices.IndexFunc(undo.Snapshots, func(s driver.Snapshot) bool {
		return slices.ContainsFunc(s.Volumes, func(v driver.Volume) bool { return v.Name == it.Volumes[0] })
	})
	if at < 0 {
		return fmt.Errorf("no member of %s holds it: %w", undo.ID, driver.ErrChanged)
	}
	by := w.Storages[it.Dataset.Kind]
	return by.Discard(ctx, driver.Stage{Dataset: it.Stage, GUID: it.Old}, &undo.Snapshots[at])
}
