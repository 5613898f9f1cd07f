package drill

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// part is what belongs to a data directory and lies elsewhere: its write-ahead log, or a tablespace.
type part struct {
	name string // below the data directory
	at   string // in a clone: an absolute path without symbolic links
}

// The directories of a data directory that may lie elsewhere: the log, and those in pg_tblspc.
const (
	walDir      = "pg_wal"
	tablespaces = "pg_tblspc"
)

// findParts follows what leads out of a data directory, as the app saw it: by a link, or by another volume that is mounted there. What
// leads out of the set is an error: that was not restored, and where it leads to on this host is the app's own.
func (t *trial) findParts(db database) ([]part, error) {
	root, err := os.OpenRoot(db.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	names, err := partNames(root)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, name := range names {
		path := filepath.Join(t.seenAs(db), name)
		to, err := root.Readlink(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && filepath.IsAbs(to):
			path = filepath.Clean(to)
		case err == nil:
			path = filepath.Join(filepath.Dir(path), to)
		case !errors.Is(err, unix.EINVAL): // it is no link
			return nil, err
		}
		at, ok := t.inClones(db, path)
		if !ok {
			return nil, fmt.Errorf("%s leads to %s, which is not in the set", name, path)
		}
		if at != filepath.Join(db.dir, name) {
			parts = append(parts, part{name, at})
		}
	}
	return parts, nil
}

// partNames are the names of what may lie elsewhere.
func partNames(root *os.Root) ([]string, error) {
	dir, err := root.OpenFile(tablespaces, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	found, err := dir.ReadDir(-1)
	names := []string{walDir}
	for _, e := range found {
		if e.Type()&fs.ModeSymlink != 0 { // a directory is a tablespace in place (allow_in_place_tablespaces)
			names = append(names, filepath.Join(tablespaces, e.Name()))
		}
	}
	return names, errors.Join(err, dir.Close())
}

// partOf is where a part of a data directory lies.
func (db database) partOf(name string) string {
	for _, p := range db.parts {
		if p.name == name {
			return p.at
		}
	}
	return filepath.Join(db.dir, name)
}

// seenAs is the path of a data directory in its container, or without one that on its host, or without that the clone's.
func (t *trial) seenAs(db database) string {
	if db.like != nil {
		if m := mountOf(*db.like, db.volume, db.dir); m != nil {
			at, _ := inVolume(*m, db.volume)
			rel, _ := mountinfo.Below(at, db.dir)
			return filepath.Join(m.Destination, rel)
		}
	}
	rel, ok := mountinfo.Below(db.volume.at, db.dir)
	if ok && filepath.IsAbs(db.volume.member.Volume) {
		return filepath.Join(db.volume.member.Volume, rel)
	}
	return db.dir
}

// inClones is where a path lies that is as in seenAs.
func (t *trial) inClones(db database, path string) (at string, ok bool) {
	if db.like == nil {
		if rel, ok := mountinfo.Below(db.volume.at, path); ok {
			at, err := plainPath(db.volume.at, rel)
			return at, err == nil
		}
		return t.cloneOfPath(path)
	}
	over := mountOver(*db.like, path)
	if at, ok = t.cloneOf(over); !ok {
		return "", false
	}
	rel, _ := mountinfo.Below(over.Destination, path)
	at, err := plainPath(at, rel)
	return at, err == nil
}
