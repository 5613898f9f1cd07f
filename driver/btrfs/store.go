package btrfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

const (
	storeName = ".volsnap"
	recordExt = ".json"        // of an intent, and of what is unsealed
	sealedExt = ".sealed.json" // what is sealed has this one beside the other
	tempExt   = ".tmp"         // after one of these
)

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*-[0-9a-f]{8}$`)

// keyOf is the name of the directory that holds the snapshots of the subvolume at a path from the file system's top.
func keyOf(inside string) string {
	base := path.Base(inside)
	if base == "_data" { // of a Docker volume, whose name is the directory's
		base = path.Base(path.Dir(inside))
	}
	if base == "/" {
		base = "top"
	}
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}, base)
	clean = strings.TrimLeft(clean[:min(len(clean), 64)], ".-")
	if clean == "" {
		clean = "_"
	}
	sum := sha256.Sum256([]byte(inside))
	return fmt.Sprintf("%s-%x", clean, sum[:4])
}

// inStore reports whether a path lies in a store of snapshots.
func inStore(at string) bool { return slices.Contains(strings.Split(at, "/"), storeName) }

var (
	errNoHome   = errors.New("no other mount of its file system has room for snapshots outside of the volume")
	errReadOnly = errors.New("its file system is mounted read-only")
)

// home is the mount at whose top the snapshots of the subvolume at inside lie: the nearest whole mount above it. If that
// would be in the volume itself (all of the subvolume is one, and its top that of the mount) it is, of the file system's
// other whole mounts, the one nearest to the file system's top.
func (ms mounts) home(dev, inside string, isAll bool) (mountinfo.Mount, error) {
	var best *mountinfo.Mount
	err := errNoHome
	for _, m := range ms.whole {
		_, within := mountinfo.Below(inside, m.Root)
		if m.Dev != dev || within && (isAll || m.Root != inside) {
			continue
		}
		if slices.Contains(m.Options, "ro") {
			err = errReadOnly
			continue
		}
		if best == nil || nearer(inside, m, *best) {
			best = &m
		}
	}
	if best == nil {
		return mountinfo.Mount{}, err
	}
	return *best, nil
}

// nearer reports whether the snapshots of what lies at inside belong rather to the top of m than to that of o.
func nearer(inside string, m, o mountinfo.Mount) bool {
	_, above := mountinfo.Below(m.Root, inside)
	_, aboveO := mountinfo.Below(o.Root, inside)
	if above != aboveO {
		return above
	}
	if above {
		return len(m.Root) > len(o.Root)
	}
	return len(m.Root) < len(o.Root)
}

// isVolume reports whether Docker itself mounted this for a volume: DATA-ROOT/volumes/NAME/_data.
func isVolume(m mountinfo.Mount) bool { return path.Base(m.Point) == "_data" }

// openDir opens a directory, never through a symbolic link at its end.
func openDir(at string) (*os.File, error) {
	return os.OpenFile(at, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// openDirIn opens a directory in a directory.
func openDirIn(dir *os.File, name string) (*os.File, error) {
	at := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at, Err: err}
	}
	return os.NewFile(uintptr(fd), at), nil
}

// openPrivate opens a directory in which only root can have put anything.
func openPrivate(dir *os.File, name string) (*os.File, error) {
	return asPrivate(openDirIn(dir, name))
}

// openPrivateAt is openPrivate of an absolute path.
func openPrivateAt(at string) (*os.File, error) { return asPrivate(openDir(at)) }

func asPrivate(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := private(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// private is ErrForeign for a directory in which others than root can have put something.
func private(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: others than root can write there: %w", dir.Name(), driver.ErrForeign)
	}
	return nil
}

// makePrivate opens a directory of root's alone, and makes it, durably, if there is none.
func makePrivate(dir *os.File, name string) (*os.File, error) {
	err := unix.Mkdirat(int(dir.Fd()), name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	if err == nil {
		if err := dir.Sync(); err != nil {
			return nil, err
		}
	}
	return openPrivate(dir, name)
}

// exists reports whether there is anything of that name in dir.
func exists(dir *os.File, name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return true, nil
}

// remove unlinks a file; that there is none is no error.
func remove(dir *os.File, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}
