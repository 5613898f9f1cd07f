package mountinfo

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ID is the number of the mount that a path leads to. A symbolic link at its end is not followed, nothing is mounted by
// the question, and no server is asked. It needs Linux 5.8; before that it is errors.ErrUnsupported.
func ID(at string) (uint64, error) {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, at, flags, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = fmt.Errorf("mount number: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return 0, &os.PathError{Op: "statx", Path: at, Err: err}
	}
	return st.Mnt_id, nil
}

// Reachable reports whether the mount's point leads to it now: nothing is mounted over it, and it is in this process's
// namespace.
func (m Mount) Reachable() bool {
	id, err := ID(m.Point)
	return err == nil && id == m.ID
}

// Containing finds the mount through which a path without symbolic links is reached, and the path from the top of its file
// system.
func Containing(all []Mount, at string) (m Mount, inside string, err error) {
	id, err := ID(at)
	if err != nil {
		return Mount{}, "", err
	}
	i := slices.IndexFunc(all, func(m Mount) bool { return m.ID == id })
	if i < 0 {
		return Mount{}, "", fmt.Errorf("%s: its mount %d is not listed", at, id)
	}
	inside, ok := all[i].Inside(at)
	if !ok {
		return Mount{}, "", fmt.Errorf("%s: not below its mount point %s", at, all[i].Point)
	}
	return all[i], inside, nil
}

// Inside is the path from the top of the file system, by its text alone: not ok if the path is not below the mount's point.
func (m Mount) Inside(at string) (inside string, ok bool) {
	rel, ok := Below(m.Point, at)
	if !ok {
		return "", false
	}
	return path.Join(m.Root, rel), true
}

// PointsIn are the points of mounts below a directory, not on it, whose path has no symbolic links.
func PointsIn(all []Mount, dir string) []string {
	var points []string
	for _, m := range all {
		if rel, in := Below(dir, m.Point); in && rel != "." {
			points = append(points, m.Point)
		}
	}
	return points
}

// Below is the path from dir to at, "." if they are the same, where at is dir or lies below it. Both are clean.
func Below(dir, at string) (rel string, ok bool) {
	if dir == at {
		return ".", true
	}
	if dir != "/" {
		dir += "/"
	}
	return strings.CutPrefix(at, dir)
}
