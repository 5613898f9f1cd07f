package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// spot is a snapshot that a caller named, found again and opened in its store.
type spot struct {
	asked  driver.Snapshot
	dir    *os.File // of the snapshot; nil if it is gone
	at     place    // of the snapshot
	record record
	info   subvol
}

// stores are the stores of the snapshots of one call, open and locked.
type stores struct {
	realm
	mounts []mountinfo.Mount
	open   map[place]*os.File
	places map[string]place    // by the path of the store
	keys   map[string]*os.File // by path
}

// newStores has no store open yet; the caller must close it.
func (r realm) newStores(ctx context.Context) (*stores, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := mountinfo.Read()
	return &stores{
		realm: r, mounts: all, open: map[place]*os.File{}, places: map[string]place{}, keys: map[string]*os.File{},
	}, err
}

// lockStores opens and locks the stores that hold the snapshots; the caller must close them.
func (r realm) lockStores(ctx context.Context, snaps []driver.Snapshot) (*stores, error) {
	st, err := r.newStores(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range snaps {
		if err := st.add(s); err != nil {
			st.close()
			return nil, fmt.Errorf("%q: %w", s.Name, err)
		}
	}
	if err := lockAll(ctx, st.open); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func (st *stores) close() {
	for _, key := range st.keys {
		closeAll(key)
	}
	for _, store := range st.open {
		closeAll(store)
	}
}

// add opens the store of a snapshot, if it is not open yet.
func (st *stores) add(s driver.Snapshot) error {
	at, err := st.storeOf(s)
	if err != nil {
		return err
	}
	return st.addStore(at)
}

func (st *stores) addStore(at string) error {
	if _, ok := st.places[at]; ok {
		return nil
	}
	store, top, err := st.openStore(st.mounts, at)
	if err != nil {
		return err
	}
	st.places[at] = top
	if st.open[top] != nil {
		return store.Close()
	}
	st.open[top] = store
	return nil
}

// key opens the directory that a snapshot is in; nil if there is none.
func (st *stores) key(s driver.Snapshot) (*os.File, error) {
	at := filepath.Dir(s.Name)
	if dir, ok := st.keys[at]; ok {
		return dir, nil
	}
	dir, err := openPrivate(st.open[st.places[filepath.Dir(at)]], filepath.Base(at))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st.keys[at] = dir
	return dir, nil
}

// find opens the snapshot and makes sure that it is the one that was asked for, and ours. ErrNotFound: it is gone. The
// caller must close the spot's directory.
func (st *stores) find(s driver.Snapshot) (*spot, error) {
	key, err := st.key(s)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, driver.ErrNotFound
	}
	dir, err := openDirIn(key, filepath.Base(s.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, driver.ErrNotFound
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("is no subvolume: %w", driver.ErrForeign)
	case err != nil:
		return nil, err
	}
	at := st.places[filepath.Dir(key.Name())]
	p := &spot{asked: s, dir: dir, at: place{
		at.dev, filepath.Join(at.inside, st.storeBase(), filepath.Base(key.Name()), filepath.Base(s.Name)),
	}}
	if err := p.check(st.realm, key); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return p, nil
}

// check compares what is there with its record and with what was asked for.
func (p *spot) check(r realm, key *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.dir.Fd()), &st); err != nil {
		return err
	}
	if st.Ino != firstFree {
		return fmt.Errorf("is no subvolume: %w", driver.ErrForeign)
	}
	var err error
	if p.info, err = infoOf(p.dir); err != nil {
		return err
	}
	p.record, err = readRecord(key, p.asked.Set)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("has no record: %w", driver.ErrForeign)
	}
	if errors.Is(err, errDamaged) {
		return fmt.Errorf("%w: %w", driver.ErrForeign, err)
	}
	if err != nil {
		return err
	}
	ours, fault := p.record.judge(p.info)
	switch {
	case !ours, !r.has(p.record):
		return fmt.Errorf("is not what its record speaks of: %w", driver.ErrForeign)
	case fault != "":
		return fmt.Errorf("%s: %w", fault, driver.ErrForeign)
	case p.record.guid(p.info) != p.asked.GUID:
		return fmt.Errorf("has the GUID %s, not %q: %w", p.record.guid(p.info), p.asked.GUID, driver.ErrForeign)
	}
	return nil
}

// write writes records store by store, each once.
func (st *stores) write(all []write) error {
	in := map[place][]write{}
	seen := map[string]bool{}
	for _, w := range all {
		name := filepath.Join(w.dir.Name(), w.file())
		if seen[name] {
			continue
		}
		seen[name] = true
		at := st.places[filepath.Dir(w.dir.Name())]
		in[at] = append(in[at], w)
	}
	for at, some := range in {
		if err := writeRecords(st.open[at], some); err != nil {
			return err
		}
	}
	return nil
}

// keyOpen is the directory that a snapshot was found in.
func (st *stores) keyOpen(s driver.Snapshot) *os.File { return st.keys[filepath.Dir(s.Name)] }

// commit returns once all that was unlinked and destroyed is on disk.
func (st *stores) commit() error {
	for _, store := range st.open {
		if err := commit(store); err != nil {
			return &os.PathError{Op: "commit", Path: store.Name(), Err: err}
		}
	}
	return nil
}
