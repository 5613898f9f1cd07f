package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

type uuid = btrfs.UUID

// stagingPrefix begins the name of a subvolume that is being received. ParseName accepts no such name.
const stagingPrefix = "receiving-"

// arrival is one replica on its way. Its directory is locked, so that there is one at a time of a dataset.
type arrival struct {
	*stores
	record record
	home   *os.File // the place
	key    *os.File // where the replica will lie
	base   *spot    // held; nil if the stream holds all
	resume bool     // it goes on with what is kept of it
	spool  *spool   // nil if nothing is to be kept

	top       *os.File // of the subvolume
	id        uint64   // of the subvolume, 0 before it is made
	info      subvol   // once it is finished
	intended  bool     // its record is written
	published bool
}

func (a *arrival) name() string    { return a.record.Set.SnapshotName() }
func (a *arrival) staging() string { return stagingPrefix + a.name() }

// recordOfReplica is what is noted of what a source announces.
func recordOfReplica(req driver.ReceiveRequest) (record, error) {
	s := req.Snapshot
	if s.Dataset.Kind != Kind {
		return record{}, fmt.Errorf("it is of kind %q: %w", s.Dataset.Kind, driver.ErrNotSupported)
	}
	rec := record{
		Version: replicaVersion, Set: s.Set, Member: s.Member, Of: s.Of, Volumes: slices.Clone(s.Volumes),
		Source: s.Dataset.Name, GUID: s.GUID, Base: req.Base, Taken: s.Taken.UTC(),
	}
	if err := rec.check(); err != nil {
		return record{}, fmt.Errorf("it was announced with %w", err)
	}
	_, err := rec.encode()
	return rec, err
}

// arrive checks an announcement, claims the place of the replica, and holds the base. It reads nothing of the stream. The caller
// must close it.
func (r *Replicas) arrive(ctx context.Context, req driver.ReceiveRequest) (*arrival, error) {
	if req.Resume != "" && !r.options.Resume {
		return nil, fmt.Errorf("nothing is kept of broken transfers here: %w", driver.ErrStale)
	}
	rec, err := recordOfReplica(req)
	if err != nil {
		return nil, err
	}
	st, err := r.newStores(ctx)
	if err != nil {
		return nil, err
	}
	a := &arrival{stores: st, record: rec, resume: req.Resume != ""}
	if err := a.claim(ctx, r); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *arrival) claim(ctx context.Context, r *Replicas) error {
	if err := a.addStore(a.dir); err != nil {
		return err
	}
	a.home = a.open[a.places[a.dir]]
	if err := lockAll(ctx, a.open); err != nil {
		return err
	}
	defer a.unlock()
	var err error
	if a.key, err = makePrivate(a.home, keyOf(a.record.Source)); err != nil {
		return err
	}
	if ok, err := tryLock(a.key, unix.LOCK_EX); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("another stream of its dataset is arriving: %w", driver.ErrBusy))
	}
	r.tidied.Do(func() { err = a.tidy() })
	if err == nil {
		err = a.fit(ctx, r)
	}
	if err != nil {
		return errors.Join(err, a.removeEmpty(a.home, a.key))
	}
	return nil
}

// fit finds what is here already, what killed processes left removed, and decides whether the replica can come.
func (a *arrival) fit(ctx context.Context, r *Replicas) error {
	if err := sweepReplicas(a.key); err != nil {
		return err
	}
	have, err := r.list(ctx, a.home, a.places[a.dir], []driver.Dataset{{Kind: Kind, Name: a.key.Name()}})
	if err != nil {
		return err
	}
	if err := a.free(have); err != nil {
		return err
	}
	if a.record.Base == "" {
		err = diverged(have, a.record)
	} else {
		err = a.findBase(ctx, r, have)
	}
	if err != nil {
		return err
	}
	mine := ""
	if a.resume {
		mine = a.staging() + spoolExt
	}
	return removeSpools(a.key, mine)
}

// free finds the replica's GUID and name free.
func (a *arrival) free(have []driver.Snapshot) error {
	for _, s := range have {
		if s.GUID == a.record.GUID {
			return fmt.Errorf("%s: %w", s.Name, driver.ErrExists)
		}
	}
	for _, name := range []string{a.name(), a.name() + recordExt, a.name() + sealedExt, a.staging()} {
		there, err := exists(a.key, name)
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("%s: %w", filepath.Join(a.key.Name(), name), driver.ErrExists)
		}
	}
	return nil
}

// diverged is ErrDiverged if there are replicas of the dataset, for a stream that builds on none of them.
func diverged(have []driver.Snapshot, arrives record) error {
	if len(have) == 0 {
		return nil
	}
	newest := have[len(have)-1]
	return fmt.Errorf("the newest here is %s (%s), and %s (%s) arrives with no base: %w",
		newest.Name, newest.GUID, arrives.Set, arrives.GUID, driver.ErrDiverged)
}

// findBase finds and holds the base: among the replicas of the dataset, or in the whole place, since a dataset may have got
// another name.
func (a *arrival) findBase(ctx context.Context, r *Replicas, have []driver.Snapshot) error {
	isBase := func(s driver.Snapshot) bool { return s.GUID == a.record.Base }
	i := slices.IndexFunc(have, isBase)
	if i < 0 {
		var err error
		if have, err = r.list(ctx, a.home, a.places[a.dir], nil); err != nil {
			return err
		}
		i = slices.IndexFunc(have, isBase)
	}
	if i < 0 {
		return fmt.Errorf("base %s: %w", a.record.Base, driver.ErrNotFound)
	}
	p, err := a.find(have[i])
	if errors.Is(err, driver.ErrForeign) {
		return fmt.Errorf("base %s is not as it was received: %w: %s", have[i].Name, driver.ErrNotFound, err.Error())
	}
	if err != nil {
		return fmt.Errorf("base %s: %w", have[i].Name, err)
	}
	a.base = p
	return p.hold()
}

func (a *arrival) unlock() { _ = unix.Flock(int(a.home.Fd()), unix.LOCK_UN) }

// close lets go of everything.
func (a *arrival) close() {
	if a.base != nil {
		closeAll(a.base.dir)
	}
	closeAll(a.top, a.key)
	a.stores.close()
}
