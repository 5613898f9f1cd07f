package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// beneath is the path of what lies at inside in a directory. What a container or a backup server has put on the way or there, such as
// a symbolic link, leads nowhere else: ELOOP or EXDEV.
func beneath(dir, inside string) (string, error) {
	top, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = top.Close() }() // a directory
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(top.Fd()), inside, &how)
	if err != nil {
		return "", fmt.Errorf("%s in the snapshot: %w", inside, err)
	}
	defer func() { _ = unix.Close(fd) }() // by its path alone
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: inside, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return "", fmt.Errorf("%s in the snapshot is a symbolic link: %w", inside, unix.ELOOP)
	}
	return filepath.Join(dir, inside), nil
}

// volumesIn finds each volume in a snapshot that came from elsewhere to be there, and no link that leads out of it: the engine would
// follow it.
func (w *Work) volumesIn(ctx context.Context, from Source, s driver.Snapshot) error {
	return driver.Look(ctx, from, s, w.Mounts, func(at string) error {
		for _, v := range s.Volumes {
			if _, err := beneath(at, v.Path); err != nil {
				return err
			}
		}
		return nil
	})
}
