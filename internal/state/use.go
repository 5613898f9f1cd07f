package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// Uses says across processes what is in use, for storages that do not know it themselves: a snapshot that is being sent. It is
// a directory of files, each locked by who uses what it is named after, and gone with the last of them.
type Uses struct {
	Dir string // its parent exists; made when it is needed
}

// HostUses are those of this host. Root's and each user's are apart: what a user has in use, root does not see.
func HostUses() Uses {
	parent := "/run/lock"
	if _, err := os.Stat(parent); err != nil {
		parent = "/run"
	}
	if uid := os.Geteuid(); uid != 0 {
		return Uses{filepath.Join(parent, "volsnap-"+strconv.Itoa(uid))}
	}
	return Uses{filepath.Join(parent, "volsnap")}
}

var useName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,99}$`)

// Use notes that this process uses what is named, until release or its death. ErrLocked: somebody has claimed one of them.
func (u Uses) Use(names ...string) (release func(), err error) {
	var held []*os.File
	release = func() { u.letGo(held) }
	for _, name := range names {
		f, err := u.lock(name, unix.LOCK_SH)
		if err != nil {
			release()
			return nil, fmt.Errorf("use %s: %w", name, err)
		}
		held = append(held, f)
	}
	return release, nil
}

// Claim keeps others from using what is named, until release or the death of the process, and returns what cannot be claimed,
// since it is in use. A name may come twice.
func (u Uses) Claim(names ...string) (busy map[string]bool, release func(), err error) {
	busy = map[string]bool{}
	var held []*os.File
	release = func() { u.letGo(held) }
	asked := map[string]bool{}
	for _, name := range names {
		if asked[name] {
			continue
		}
		asked[name] = true
		f, err := u.lock(name, unix.LOCK_EX)
		switch {
		case errors.Is(err, ErrLocked):
			busy[name] = true
		case err != nil:
			release()
			return nil, nil, fmt.Errorf("claim %s: %w", name, err)
		default:
			held = append(held, f)
		}
	}
	return busy, release, nil
}

// lock locks the file of a name, and fails with ErrLocked rather than wait.
func (u Uses) lock(name string, how int) (*os.File, error) {
	if !useName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of something that can be used", name)
	}
	if err := u.prepare(); err != nil {
		return nil, err
	}
	path := filepath.Join(u.Dir, name)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if same(f, path) {
			return f, nil
		}
		_ = f.Close() // somebody has let go of it, and removed it, meanwhile
	}
}

// prepare makes the directory, which has to be ours: in a place where anybody may make one.
func (u Uses) prepare() error {
	if err := os.Mkdir(u.Dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(u.Dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: u.Dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is no directory of ours: remove it", u.Dir)
	}
	return nil
}

func same(f *os.File, path string) bool {
	at, err := os.Lstat(path)
	if err != nil {
		return false
	}
	mine, err := f.Stat()
	return err == nil && os.SameFile(at, mine)
}

// letGo unlocks files, and removes those that nobody else has locked.
func (u Uses) letGo(held []*os.File) {
	for _, f := range held {
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(f.Name()) // one that stays means nothing
		}
		_ = f.Close()
	}
}
