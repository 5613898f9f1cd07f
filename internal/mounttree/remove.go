package mounttree

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// What can be at a directory, or be wrong with it.
var (
	ErrOther = errors.New("something else is mounted there")
	ErrInUse = errors.New("somebody has a file, or a working directory, in it") // or has mounted something in it
)

// At reports whether a tree is at a directory, an absolute path without symbolic links. ErrOther: it is another mount's point.
func At(dir string) (bool, error) {
	all, err := mountinfo.Read()
	if err != nil {
		return false, err
	}
	_, there, err := at(all, dir)
	return there, err
}

func at(all []mountinfo.Mount, dir string) (top mountinfo.Mount, there bool, err error) {
	for _, m := range all {
		if m.Point != dir {
			continue
		}
		if top, there = m, m.Source == source && m.FS == "tmpfs"; !there {
			err = ErrOther
		}
	}
	return top, there && err == nil, err
}

// Remove takes a tree away, however much of it there is. None is no error. ErrInUse: a part of it may be gone already, and the
// rest goes by another Remove. ErrOther: nothing was changed.
func Remove(dir string) error {
	all, err := mountinfo.Read()
	if err != nil {
		return err
	}
	_, there, err := at(all, dir)
	if err != nil || !there {
		return err
	}
	for _, m := range slices.Backward(all) { // a mount stands behind what it is mounted on
		if rel, in := mountinfo.Below(dir, m.Point); !in || !ours(rel) {
			continue
		}
		fault.Point("before unmount of a tree")
		if err := unmount(m.Point); err != nil {
			return err
		}
	}
	fault.Point("after unmount of a tree")
	return nil
}

// ours reports whether a mount point of a tree is one of its own, and not one that somebody has made further down.
func ours(rel string) bool {
	if in, staged := strings.CutPrefix(rel, staging+string(filepath.Separator)); staged {
		rel = in
	}
	return !strings.ContainsRune(rel, filepath.Separator)
}

func unmount(at string) error {
	err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &os.PathError{Op: "unmount", Path: at, Err: ErrInUse}
	case err != nil:
		return &os.PathError{Op: "unmount", Path: at, Err: err}
	}
	return nil
}
