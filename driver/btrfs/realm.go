package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// realm is whose snapshots a call is about: those that were taken on this host, in the stores of its mounts, or the replicas
// of one place. Neither lists, changes or destroys what is the other's.
type realm struct {
	dir string // of the place, "" for the host
}

// kept are the snapshots of a realm, and what can be done with them: what Driver and Replicas have in common.
type kept struct {
	realm
	pace driver.Pace // each batch is one transaction
}

// has reports whether a snapshot with that record belongs to the realm.
func (r realm) has(of record) bool { return of.isReplica() == (r.dir != "") }

// storeBase is the last element of the path of a store, below the place that openStore tells.
func (r realm) storeBase() string {
	if r.dir != "" {
		return "."
	}
	return storeName
}

// storeOf is the path of the store that a snapshot's name leads to: TOP/.volsnap for TOP/.volsnap/KEY/volsnap-SET, and DIR
// for DIR/KEY/volsnap-SET.
func (r realm) storeOf(s driver.Snapshot) (string, error) {
	at := filepath.Dir(filepath.Dir(s.Name))
	set, err := driver.ParseName(filepath.Base(s.Name))
	switch {
	case s.Dataset.Kind != Kind:
		return "", fmt.Errorf("is of kind %q: %w", s.Dataset.Kind, driver.ErrForeign)
	case err != nil:
		return "", err
	case set != s.Set:
		return "", fmt.Errorf("is of the set %s, not %q: %w", set, s.Set, driver.ErrForeign)
	case !filepath.IsAbs(s.Name), filepath.Clean(s.Name) != s.Name, !keyPattern.MatchString(filepath.Base(filepath.Dir(s.Name))):
		return "", fmt.Errorf("is not in a store of snapshots: %w", driver.ErrForeign)
	case r.dir == "" && filepath.Base(at) != storeName:
		return "", fmt.Errorf("is not in a store of snapshots: %w", driver.ErrForeign)
	case r.dir != "" && at != r.dir:
		return "", fmt.Errorf("is not in %s: %w", r.dir, driver.ErrForeign)
	}
	return at, nil
}

// openStore opens the store at a path of storeOf, and tells where it lies: its mount's top, or the place itself.
func (r realm) openStore(all []mountinfo.Mount, at string) (*os.File, place, error) {
	if r.dir != "" {
		return openPlace(all, at)
	}
	top, err := openDir(filepath.Dir(at))
	if err != nil {
		return nil, place{}, err
	}
	defer func() { _ = top.Close() }()
	m, inside, err := mountinfo.Containing(all, top.Name())
	if err == nil {
		err = onBtrfs(top)
	}
	if err != nil {
		return nil, place{}, err
	}
	if inside != m.Root {
		return nil, place{}, fmt.Errorf("is not at the top of a mount: %w", driver.ErrForeign)
	}
	store, err := openPrivate(top, storeName)
	return store, topOf(m), err
}

// openPlace opens the directory of a place. ErrNotSupported and ErrForeign: it cannot be one.
func openPlace(all []mountinfo.Mount, at string) (*os.File, place, error) {
	real, err := filepath.EvalSymlinks(at)
	if err != nil {
		return nil, place{}, err
	}
	if real != at {
		return nil, place{}, fmt.Errorf("its path is not plain, but %s: %w", real, driver.ErrNotSupported)
	}
	dir, err := openDir(at)
	if err != nil {
		return nil, place{}, err
	}
	m, inside, err := mountinfo.Containing(all, at)
	if err == nil {
		err = errors.Join(onBtrfs(dir), private(dir))
	}
	if err == nil && inStore(inside) {
		err = fmt.Errorf("lies in %s, where this host's own snapshots are: %w", storeName, driver.ErrNotSupported)
	}
	if err != nil {
		return nil, place{}, errors.Join(err, dir.Close())
	}
	return dir, place{m.Dev, inside}, nil
}
