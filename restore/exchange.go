package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// copyOut copies what lies at from, and all below it, to a name that is free, with owners, modes, times, links, attributes and
// holes, and waits until it is on disk. Blocks are shared where the file system can (cp(1), --reflink).
func copyOut(ctx context.Context, from, to string) error {
	fault.Point("before copy")
	_, err := command.Run(ctx, command.Cmd{Argv: []string{"cp", "-a", "--reflink=auto", "--no-target-directory", "--", from, to}})
	if err != nil {
		return err
	}
	defer fault.Point("after copy")
	return syncFS(filepath.Dir(to))
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // a directory
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// fileIdentity tells a file or directory from any other on this host at one time. It follows no symbolic link.
func fileIdentity(at string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: at, Err: err}
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}

// exchange swaps two names, so that path is the file of that identity, durably. That it is so already is no error.
func exchange(path, aside, identity string) error {
	now, err := fileIdentity(path)
	if err != nil || now == identity {
		return err
	}
	other, err := fileIdentity(aside)
	if err != nil {
		return err
	}
	if other != identity {
		return fmt.Errorf("neither %s nor %s is what was put there: %w", path, aside, driver.ErrForeign)
	}
	fault.Point("before swap")
	defer fault.Point("after swap")
	if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, aside, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "renameat2", Old: path, New: aside, Err: err}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// removeUnchanged removes what lies at a name, and all below it, unless something of it was changed after a time, or other file
// systems or subvolumes are in it, of which no snapshot has anything: ErrChanged. The top itself counts by its content, not by its
// change: it was renamed.
func removeUnchanged(at string, since time.Time) error {
	mounts, err := mountinfo.Read()
	if err != nil {
		return err
	}
	if points := mountinfo.PointsIn(mounts, at); len(points) > 0 {
		return fmt.Errorf("another file system is mounted in it, at %q: %w", points, driver.ErrChanged)
	}
	if err := unchanged(at, since); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(at)
}

// unchanged is ErrChanged if something of what lies at a name was changed after a time, or is of another file system.
func unchanged(at string, since time.Time) error {
	var top unix.Stat_t
	if err := unix.Lstat(at, &top); err != nil {
		return &os.PathError{Op: "stat", Path: at, Err: err}
	}
	return filepath.WalkDir(at, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if st.Dev != top.Dev {
			return fmt.Errorf("%s is another file system, or a subvolume: %w", path, driver.ErrChanged)
		}
		changed := time.Unix(st.Ctim.Sec, st.Ctim.Nsec)
		if path == at {
			changed = time.Unix(st.Mtim.Sec, st.Mtim.Nsec)
		}
		if changed.After(since) {
			return fmt.Errorf("%s was changed at %s: %w", path, changed.UTC().Format(time.RFC3339), driver.ErrChanged)
		}
		return nil
	})
}
