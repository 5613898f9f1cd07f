package btrfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// keyDir is an open directory of a store, and the subvolumes in it that are named like snapshots.
type keyDir struct {
	dir   *os.File
	dev   string // of the file system, see mountinfo.Mount
	at    dirOf
	found []subvol
}

// openKeys opens the directories of the store at the top of a mount.
func (l lister) openKeys(m mountinfo.Mount) ([]*keyDir, error) {
	top, err := openDir(m.Point)
	if err != nil {
		return nil, err
	}
	defer func() { _ = top.Close() }()
	store, err := openPrivate(top, storeName)
	if errors.Is(err, driver.ErrForeign) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil // somebody else's
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	return l.keysIn(store, m.Dev)
}

// keysIn opens the directories of a store, those before an error too.
func (l lister) keysIn(store *os.File, dev string) ([]*keyDir, error) {
	names, err := store.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []*keyDir
	for _, key := range names {
		if !keyPattern.MatchString(key) || l.want.skips(key) {
			continue
		}
		k, err := openKey(store, key, dev)
		if err != nil {
			return out, err
		}
		if k != nil {
			out = append(out, k)
		}
	}
	return out, nil
}

func openKey(store *os.File, key, dev string) (*keyDir, error) {
	dir, err := openPrivate(store, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, driver.ErrForeign) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.ELOOP) {
		return nil, nil // gone meanwhile, or somebody else's
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	tree, err := treeOf(dir)
	if err = errors.Join(err, unix.Fstat(int(dir.Fd()), &st)); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &keyDir{dir: dir, dev: dev, at: dirOf{tree, st.Ino}}, nil
}
