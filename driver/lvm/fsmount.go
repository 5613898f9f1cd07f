package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// detached is a mount that is nowhere in the tree of directories yet. It is gone when it is closed, or its process ends, unless it was put
// somewhere.
type detached struct{ *os.File }

// access is how a volume is mounted.
type access struct {
	mount   int      // MOUNT_ATTR_*
	options []string // of the file system
}

// awake activates a volume and mounts it. XFS mounts a file system beside another one of the same UUID on request only.
func (f found) awake(ctx context.Context, how access) (detached, error) {
	err := change(ctx, "lvchange", "-y", "--activate", "y", "--ignoreactivationskip", "--select", byUUID(f), f.VG)
	if err != nil {
		return detached{}, err
	}
	device, err := f.device(ctx)
	if err != nil {
		return detached{}, err
	}
	kind, err := fileSystem(device)
	if err == nil {
		if kind.name == "xfs" {
			how.options = append(how.options, "nouuid")
		}
		var m detached
		if m, err = mountDevice(device, kind.name, how); err == nil {
			return m, nil
		}
	}
	return detached{}, errors.Join(err, f.deactivate(context.WithoutCancel(ctx)))
}

// mountDevice mounts a device. What is on it has to be mounted nowhere else with other options of the file system.
func mountDevice(device, kind string, how access) (detached, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return detached{}, &os.PathError{Op: "fsopen " + kind, Path: device, Err: err}
	}
	fs := os.NewFile(uintptr(fd), device)
	defer func() { _ = fs.Close() }()
	err = unix.FsconfigSetString(fd, "source", device)
	for _, option := range how.options {
		if err != nil {
			break
		}
		if name, value, has := strings.Cut(option, "="); has {
			err = unix.FsconfigSetString(fd, name, value)
		} else {
			err = unix.FsconfigSetFlag(fd, name)
		}
		if err != nil {
			err = fmt.Errorf("option %s: %w", option, err)
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err == nil {
		fd, err = unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, how.mount)
	}
	if err != nil {
		return detached{}, &os.PathError{Op: "mount " + kind + " of", Path: device, Err: withReasons(fs, err)}
	}
	return detached{os.NewFile(uintptr(fd), device)}, nil
}

// withReasons adds what the kernel says of a mount that failed.
func withReasons(fs *os.File, err error) error {
	buf := make([]byte, 1024)
	for {
		n, readErr := unix.Read(int(fs.Fd()), buf)
		if readErr != nil || n <= 0 {
			return err
		}
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(buf[:n])))
	}
}

func (m detached) close() error { return m.Close() }

// dir is a path to the top, to which more has to be added: by itself it is a symbolic link.
func (m detached) dir() string { return fmt.Sprintf("/proc/self/fd/%d", m.Fd()) }

// put puts the mount at a place in the tree of directories. No symbolic link leads elsewhere.
func (m detached) put(at string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, at, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: at, Err: err}
	}
	to := os.NewFile(uintptr(fd), at)
	defer func() { _ = to.Close() }()
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(int(m.Fd()), "", fd, "", flags); err != nil {
		return &os.PathError{Op: "mount " + m.Name() + " at", Path: at, Err: err}
	}
	return nil
}

// mounts are those of the volume in this process's mount namespace, in their order; none of one that is not active.
func (v lv) mounts() ([]mountinfo.Mount, error) {
	number, err := v.number()
	if err != nil || number == "" {
		return nil, err
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	var out []mountinfo.Mount
	for _, m := range all {
		if m.Dev == number {
			out = append(out, m)
		}
	}
	return out, nil
}

// number is "major:minor" of the volume's device, or empty.
func (v lv) number() (string, error) {
	names, err := filepath.Glob("/sys/block/dm-*/dm/uuid")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(text)) != uuidPrefix+plain(v.VGUUID)+plain(v.UUID) {
			continue // one that cannot be read has just gone
		}
		number, err := os.ReadFile(filepath.Join(filepath.Dir(name), "../dev"))
		return strings.TrimSpace(string(number)), err
	}
	return "", nil
}
