// Package mounttree shows directories and files of other mounts side by side at one directory, to be read.
//
// # How
//
// The directory is covered by a file system in memory that holds an empty directory or file a name; what is to be shown is
// mounted there. So nothing is ever written into the directory itself. What is shown comes out of mounts that stand, for as
// long as that takes, in a directory of the same file system. All of a tree is thus at and below one mount, and Remove needs
// to know nothing but where that is, whoever made it and however far that came.
//
// # What may be done in it
//
// To read, by root. Nothing can be written, executed, or opened as a device, and no file gives rights.
//
// # Other mount namespaces
//
// The mounts have the propagation of the directory that they are at, as with mount(8). Where that is shared, as systemd has
// it, they come and go in the namespaces that follow this one too. Private mounts would be copied all the same into each
// namespace that is made meanwhile (a service's, say), and stay in use there after they were unmounted here.
package mounttree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/fault"
)

const (
	source  = "volsnap-mount" // of the file system in memory, by which it is known again
	staging = ".volsnap"      // the directory in it for mounts that things are shown out of; no name of what is shown
)

// Tree is one in the making. Whoever gives up before Finish calls Remove.
type Tree struct {
	dir  string
	root *os.File
}

// New covers a directory, which must be empty and absolute.
func New(dir string) (t *Tree, err error) {
	at, err := openIn(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	root, err := memory()
	if err != nil {
		return nil, err
	}
	fault.Point("before mount of a tree")
	if err := attach(root, at); err != nil {
		return nil, errors.Join(fmt.Errorf("mount at %s: %w", dir, err), root.Close())
	}
	fault.Point("after mount of a tree")
	t = &Tree{dir, root}
	if err := unix.Mkdirat(int(root.Fd()), staging, 0o700); err != nil {
		return nil, errors.Join(&os.PathError{Op: "mkdir", Path: filepath.Join(dir, staging), Err: err}, root.Close(), Remove(dir))
	}
	return t, nil
}

// memory is a file system that is mounted nowhere.
func memory() (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen tmpfs: %w", err)
	}
	defer func() { _ = unix.Close(fs) }()
	for _, o := range [][2]string{{"source", source}, {"mode", "0700"}, {"size", "1m"}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("fsconfig tmpfs %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("fsconfig tmpfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsmount tmpfs: %w", err)
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// Stage makes the directory at which the nth mount is to be made that things are shown out of.
func (t *Tree) Stage(n int) (dir string, err error) {
	name := stage(n)
	if err := unix.Mkdirat(int(t.root.Fd()), name, 0o700); err != nil {
		return "", &os.PathError{Op: "mkdir", Path: filepath.Join(t.dir, name), Err: err}
	}
	return filepath.Join(t.dir, name), nil
}

func stage(n int) string { return filepath.Join(staging, strconv.Itoa(n)) }

// Show shows under a name what lies at a path in the nth mount: a directory or a regular file. The path is relative to the top of
// that mount. No symbolic link on it is followed, since whoever wrote what is in there may have meant it to lead elsewhere.
func (t *Tree) Show(n int, path, name string) (err error) {
	from, err := openIn(int(t.root.Fd()), stage(n), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	const inside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
	what, err := openIn(int(from.Fd()), path, unix.O_PATH, inside)
	if err != nil {
		return leading(err)
	}
	defer func() { err = errors.Join(err, what.Close()) }()
	at, err := t.point(what, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	fault.Point("before mount in a tree")
	defer fault.Point("after mount in a tree")
	return bind(what, at)
}

// leading says in words what openat2(2) refuses with.
func leading(err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%w: there is a symbolic link on the way, which is not followed", err)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%w: it leads out of the snapshot", err)
	}
	return err
}

// point makes what a directory or file can be mounted at.
func (t *Tree) point(what *os.File, name string) (*os.File, error) {
	if name == staging || filepath.Base(name) != name || name == "." || name == ".." || name == "/" {
		return nil, fmt.Errorf("%q is no name for an entry", name)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(what.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: what.Name(), Err: err}
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = unix.Mkdirat(int(t.root.Fd()), name, 0o700)
	case unix.S_IFREG:
		err = unix.Mknodat(int(t.root.Fd()), name, unix.S_IFREG|0o600, 0)
	default:
		err = errors.New("is neither a directory nor a regular file")
	}
	if err != nil {
		return nil, &os.PathError{Op: "make", Path: filepath.Join(t.dir, name), Err: err}
	}
	return openIn(int(t.root.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW, 0)
}

// bind mounts what is open at "what" at an open directory or file, too.
func bind(what, at *os.File) error {
	fd, err := unix.OpenTree(int(what.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: what.Name(), Err: err}
	}
	tree := os.NewFile(uintptr(fd), what.Name())
	err = readOnly(tree)
	if err == nil {
		err = attach(tree, at)
	}
	return errors.Join(err, tree.Close())
}

func readOnly(mount *os.File) error {
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	}
	if err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return &os.PathError{Op: "mount_setattr", Path: mount.Name(), Err: err}
	}
	return nil
}

func attach(mount, at *os.File) error {
	err := unix.MoveMount(int(mount.Fd()), "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount to", Path: at.Name(), Err: err}
	}
	return nil
}

// Unstage unmounts the nth mount that things were shown out of. They stay.
func (t *Tree) Unstage(n int) error {
	at := filepath.Join(t.dir, stage(n))
	if err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: at, Err: err}
	}
	fault.Point("after unmount in a tree")
	return unix.Unlinkat(int(t.root.Fd()), stage(n), unix.AT_REMOVEDIR)
}

// Finish leaves the tree as it is to be looked at.
func (t *Tree) Finish() error {
	if err := unix.Unlinkat(int(t.root.Fd()), staging, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: filepath.Join(t.dir, staging), Err: err}
	}
	return readOnly(t.root)
}

// Close is called in any case, and before Remove: a tree that somebody has open is in use.
func (t *Tree) Close() error { return t.root.Close() }

func openIn(dir int, path string, flags, resolve uint64) (*os.File, error) {
	for {
		fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve})
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN): // EAGAIN: something was renamed meanwhile, openat2(2)
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
