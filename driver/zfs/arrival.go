package zfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/state"
)

// arrival is one replica on its way. It has claimed its file system, so that there is one at a time of a dataset, and uses its
// base, until it is closed.
type arrival struct {
	*Replicas
	record  replica
	resume  string // the token of the broken stream that goes on, or ""
	dataset string // the file system that it comes into
	origin  string // the base, if it comes into a new file system that is a clone of that; see branch
	view    *view  // of the place, when it was claimed
	release []func()
}

func (a *arrival) name() string { return snapshotName(a.dataset, a.record.Set) }

// isFull reports whether all of the dataset comes.
func (a *arrival) isFull() bool { return a.record.Base == "" }

// isNew reports whether it comes into a file system that is not there yet.
func (a *arrival) isNew() bool { return a.isFull() || a.origin != "" }

// branchOf is the file system into which a snapshot comes that is not the next behind its base: there may be another at its source, where
// an earlier state was restored.
func (a *arrival) branchOf() string {
	return a.place.name + "/" + keyOf(a.record.Source, a.record.Base, a.record.GUID)
}

// arrivalIn is what the arrival of something in a file system is called among state.Uses.
func arrivalIn(dataset string) string {
	sum := sha256.Sum256([]byte(dataset))
	return fmt.Sprintf("zfs-into-%x", sum[:16])
}

// arrive checks an announcement, claims the file system that the replica comes into, and decides whether it can. It changes
// nothing. The caller must close it.
func (r *Replicas) arrive(ctx context.Context, req driver.ReceiveRequest) (a *arrival, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rec, err := replicaOf(req, time.Now().Round(0))
	if err != nil {
		return nil, err
	}
	a = &arrival{Replicas: r, record: rec, resume: req.Resume, dataset: r.place.name + "/" + keyOf(rec.Source)}
	defer func() {
		if err != nil {
			a.close()
			a = nil
		}
	}()
	if err := errors.Join(a.claim(), a.useBase()); err != nil {
		return a, err
	}
	if a.view, err = a.lookAround(ctx); err != nil {
		return a, err
	}
	if err := a.exists(); err != nil {
		return a, err
	}
	if a.isFull() {
		err = errors.Join(a.begins(), r.allowed(ctx))
	} else {
		err = a.continues()
	}
	if err == nil && a.origin != "" {
		err = r.allowed(ctx)
	}
	if err == nil {
		err = a.goesOn()
	}
	return a, err
}

// lookAround looks at the file system that an increment comes into, and at the whole place if its base is not there.
func (a *arrival) lookAround(ctx context.Context) (*view, error) {
	if err := a.host.awake(a.dataset); err != nil {
		return nil, err
	}
	if !a.isFull() {
		v, err := a.place.below(ctx, "1", a.dataset, a.branchOf())
		if err != nil || v.has(a.record.Base) {
			return v, err
		}
	}
	return a.look(ctx)
}

// claim keeps other streams from the file system.
func (a *arrival) claim() error {
	busy, release, err := a.uses.Claim(arrivalIn(a.dataset))
	if err != nil {
		return err
	}
	a.release = append(a.release, release)
	if busy[arrivalIn(a.dataset)] {
		return fmt.Errorf("another stream of its dataset is arriving in %s: %w", a.dataset, driver.ErrBusy)
	}
	return nil
}

// useBase keeps the base, if it is here, from being unsealed or destroyed.
func (a *arrival) useBase() error {
	if a.isFull() {
		return nil
	}
	release, err := a.uses.Use(useOf(a.record.Base))
	if errors.Is(err, state.ErrLocked) {
		return fmt.Errorf("base %s is about to be destroyed: %w", a.record.Base, driver.ErrBusy)
	}
	if err == nil {
		a.release = append(a.release, release)
	}
	return err
}

func (a *arrival) close() {
	for _, release := range slices.Backward(a.release) {
		release()
	}
	a.release = nil
}

// exists is ErrExists if the replica is here.
func (a *arrival) exists() error {
	if a.view.has(a.record.GUID) {
		return fmt.Errorf("%s: %w", a.record.GUID, driver.ErrExists)
	}
	return nil
}

// begins decides whether all of a dataset can come: there are no replicas of it, and no file system in their place but one of
// ours, without snapshots.
func (a *arrival) begins() error {
	if newest, found := a.newestOfSource(); found {
		return fmt.Errorf("the newest here is %s (%s), and %s (%s) arrives with no base: %w",
			newest.Name, newest.GUID, a.record.Set, a.record.GUID, driver.ErrDiverged)
	}
	return a.isFree()
}

// isFree is an error if something is where a new file system is to be, but one of ours, without snapshots.
func (a *arrival) isFree() error {
	c := a.view.children[a.dataset]
	if c == nil || c.token != "" { // see goesOn
		return nil
	}
	if c.intent == nil {
		return fmt.Errorf("%s is there, and no record says that volsnap made it: move it away (zfs rename): %w", a.dataset, driver.ErrForeign)
	}
	if r, found := a.view.newest(a.dataset); found {
		return fmt.Errorf("%s is there, and volsnap did not make it: move %s away (zfs rename): %w", r.name, a.dataset, driver.ErrForeign)
	}
	return nil
}

// newestOfSource is the newest replica of the dataset, which may lie elsewhere if the dataset has got another name meanwhile.
func (a *arrival) newestOfSource() (newest driver.Snapshot, found bool) {
	for _, one := range a.view.snapshots {
		of := one.dataset == a.dataset || one.source == a.record.Source
		if one.ours && of && (!found || one.txg > newest.Order) {
			newest, found = one.now, true
		}
	}
	return newest, found
}

// continues finds the base, wherever in the place it lies: the replica comes behind it. So it has to be the newest
// snapshot there.
func (a *arrival) continues() error {
	ours := a.view.ours()
	i := slices.IndexFunc(ours, func(s driver.Snapshot) bool { return s.GUID == a.record.Base })
	if i < 0 {
		return fmt.Errorf("base %s: %w", a.record.Base, driver.ErrNotFound)
	}
	base := ours[i]
	if base.Fault != "" {
		return fmt.Errorf("base %s is not as it was received, it %s: %w", base.Name, base.Fault, driver.ErrNotFound)
	}
	if base.Dataset.Name != a.dataset {
		a.dataset = base.Dataset.Name
		if err := a.claim(); err != nil {
			return err
		}
	}
	if newer, found := a.view.foreignAfter(base); found {
		return fmt.Errorf("the newest here is %s (%s), and %s (%s) arrives on top of %s: %w",
			newer.name, newer.guid, a.record.Set, a.record.GUID, base.Name, driver.ErrDiverged)
	}
	newest, _ := a.view.newest(a.dataset)
	if begun := a.view.children[a.branchOf()]; newest.name != base.Name || begun != nil && begun.token != "" {
		return a.branch()
	}
	if a.view.there[a.name()] {
		return fmt.Errorf("%s: %w", a.name(), driver.ErrExists)
	}
	return nil
}

// branch lets the replica come into a new file system, a clone of its base. Nothing is rolled back for it, and what came after the base
// stays.
func (a *arrival) branch() error {
	for _, one := range a.view.ours() {
		if one.GUID == a.record.Base {
			a.origin = one.Name
		}
	}
	a.dataset = a.branchOf()
	if err := a.claim(); err != nil {
		return err
	}
	if a.view.there[a.name()] {
		return fmt.Errorf("%s: %w", a.name(), driver.ErrExists)
	}
	return a.isFree()
}

// asBegun lets a stream that can only be received as a clone come into a new file system. The caller has looked for one that broke already.
func (a *arrival) asBegun(ctx context.Context, h head) error {
	if !h.clone() || a.origin != "" {
		return nil
	}
	if err := a.branch(); err != nil {
		return err
	}
	return errors.Join(a.goesOn(), a.allowed(ctx))
}

// goesOn is ErrStale if the stream is said to go on with something else than what is kept, and another error if what is kept is
// not ours to remove.
func (a *arrival) goesOn() error {
	c := a.view.children[a.dataset]
	if c == nil || c.token == "" {
		if a.resume != "" {
			return fmt.Errorf("nothing is kept of it: %w", driver.ErrStale)
		}
		return nil
	}
	p, err := c.partial()
	if err != nil {
		return err
	}
	if a.resume != "" && (a.resume != c.token || p.GUID != a.record.GUID || p.Base != a.record.Base) {
		return fmt.Errorf("what is kept is of %s on top of %q, and has another token: %w", p.GUID, p.Base, driver.ErrStale)
	}
	return nil
}

// prepare does what has to be done before the stream: each replica has its record, nothing of another stream is in the way, and
// the intent is written, if there is a file system that it can be written to.
func (a *arrival) prepare(ctx context.Context) error {
	settle := map[string]seen{}
	for name, one := range a.view.snapshots {
		if one.dataset == a.dataset {
			settle[name] = one
		}
	}
	if err := a.settle(ctx, settle); err != nil {
		return err
	}
	c := a.view.children[a.dataset]
	if c != nil && c.token != "" && a.resume == "" {
		if err := abort(ctx, a.dataset); err != nil {
			return err
		}
	}
	switch {
	case !a.isNew():
		return setRecord(ctx, a.dataset, a.record)
	case c != nil && c.token == "":
		return destroyFileSystem(ctx, a.dataset) // it is empty
	}
	return nil
}

// abort removes what is kept of a stream that broke: of a full one with the file system, which holds nothing else.
func abort(ctx context.Context, dataset string) error {
	fault.Point("before removal of a broken transfer")
	_, err := run(ctx, "zfs", "receive", "-A", dataset)
	fault.Point("after removal of a broken transfer")
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}
