package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Destroy implements driver.Pruner. Each batch is on disk before its records are removed, so that no crash leaves a
// snapshot without one.
func (k kept) Destroy(ctx context.Context, s ...driver.Snapshot) error {
	return k.pace.Destroy(ctx, s, k.destroyAll)
}

// destroyAll destroys one batch.
func (r realm) destroyAll(ctx context.Context, batch []driver.Snapshot) error {
	st, err := r.newStores(ctx)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	defer st.close()
	var failed []error
	var named []driver.Snapshot
	for _, one := range batch {
		if err := st.add(one); err != nil {
			failed = append(failed, fmt.Errorf("destroy %q: %w", one.Name, classify(err)))
			continue
		}
		named = append(named, one)
	}
	if err := lockAll(ctx, st.open); err != nil {
		return errors.Join(append(failed, fmt.Errorf("destroy: %w", err))...)
	}
	busy, err := mountedSomewhere()
	if err != nil {
		return errors.Join(append(failed, fmt.Errorf("destroy: %w", err))...)
	}
	var gone []driver.Snapshot
	for _, one := range named {
		if err := st.destroy(one, busy); err != nil {
			failed = append(failed, fmt.Errorf("destroy %s: %w", one.Name, classify(err)))
			continue
		}
		gone = append(gone, one)
	}
	return errors.Join(append(failed, st.forget(gone))...)
}

// destroy removes one snapshot, by its number: no other can have it.
func (st *stores) destroy(s driver.Snapshot, busy func(place) bool) error {
	p, err := st.find(s)
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeAll(p.dir)
	if err := p.free(busy); err != nil {
		return err
	}
	err = destroySubvol(st.keyOpen(s), p.info.id)
	if errors.Is(err, unix.EPERM) { // btrfs_delete_subvolume: somebody else is sending it
		return fmt.Errorf("being sent: %w: %w", driver.ErrBusy, err)
	}
	return err
}

// forget removes the records of snapshots that are gone, once that is on disk, and directories that are empty then.
func (st *stores) forget(gone []driver.Snapshot) error {
	if err := st.commit(); err != nil {
		return err
	}
	var failed []error
	for _, s := range gone {
		if key := st.keyOpen(s); key != nil {
			failed = append(failed, st.forgetOne(key, s.Set.SnapshotName()))
		}
	}
	for at, key := range st.keys {
		failed = append(failed, st.removeEmpty(st.open[st.places[filepath.Dir(at)]], key))
	}
	return errors.Join(failed...)
}

func (st *stores) forgetOne(key *os.File, name string) error {
	there, err := exists(key, name)
	if err != nil || there {
		return err
	}
	fault.Point("before removal of a record")
	defer fault.Point("after removal of a record")
	return errors.Join(remove(key, name+sealedExt), remove(key, name+recordExt))
}

// removeEmpty removes a directory in which nothing is left and nothing is intended.
func (st *stores) removeEmpty(store, key *os.File) error {
	alone, err := tryLock(key, unix.LOCK_EX)
	if err != nil || !alone {
		return err
	}
	defer func() { _ = unix.Flock(int(key.Fd()), unix.LOCK_UN) }()
	err = unix.Unlinkat(int(store.Fd()), filepath.Base(key.Name()), unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: key.Name(), Err: err}
}

// mountedSomewhere tells of each place whether it, or something in it, is mounted in any mount namespace of this host.
func mountedSomewhere() (func(place) bool, error) {
	var mounted []mountinfo.Mount
	for all, err := range mountinfo.Namespaces() {
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if m.FS == Kind {
				mounted = append(mounted, m)
			}
		}
	}
	return func(at place) bool {
		return slices.ContainsFunc(mounted, func(m mountinfo.Mount) bool {
			_, in := mountinfo.Below(at.inside, m.Root)
			return in && m.Dev == at.dev
		})
	}, nil
}
