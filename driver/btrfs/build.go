package btrfs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
)

// builder does in a new subvolume what the commands of a stream say.
//
// The stream is hostile: what it says is done as root. So every path is looked up by the kernel from the subvolume's open top,
// with openat2(2) and RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV: no symbolic link is ever followed, be it one that
// the stream made a moment ago, and nothing outside can be named. Only regular files are opened for reading or writing, never a
// device or a pipe that the stream made. What is cloned comes from the base or from the subvolume itself.
type builder struct {
	top     *os.File
	sources map[btrfs.UUID]*os.File // the tops of what may be cloned from

	times []unix.Timespec // of the top, in the end, see settle

	file *os.File // open for writing, see open
	path string
}

// do does what one command says.
func (b *builder) do(c stream.Command) error {
	if err := b.dispatch(c); err != nil {
		return &os.PathError{Op: c.Op.String(), Path: c.Path, Err: err}
	}
	return nil
}

func (b *builder) dispatch(c stream.Command) error {
	switch c.Op {
	case stream.Write, stream.EncodedWrite, stream.Clone, stream.Truncate, stream.Allocate:
		return b.content(c)
	case stream.Chmod, stream.Chown, stream.Utimes, stream.SetXattr, stream.RemoveXattr:
		return b.attribute(c)
	case stream.Flags:
		return nil
	}
	b.close() // its name may be another file's from now on
	return b.name(c)
}

// begin notes when the top was read and changed last, which is when the base's was.
func (b *builder) begin() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(b.top.Fd()), &st); err != nil {
		return err
	}
	b.times = []unix.Timespec{st.Atim, st.Mtim}
	return nil
}

// settle gives the top its times. A stream makes each new file in the top at first, and moves it to its place then; of the times
// of the top it speaks only if they changed at the source too.
func (b *builder) settle() error {
	b.close()
	return unix.UtimesNanoAt(int(b.top.Fd()), ".", b.times, 0)
}

// content changes what a regular file holds.
func (b *builder) content(c stream.Command) error {
	f, err := b.open(c.Path)
	if err != nil {
		return err
	}
	if c.Offset > math.MaxInt64 || c.Size > math.MaxInt64 || c.FromOffset > math.MaxInt64 {
		return unix.EFBIG
	}
	switch c.Op {
	case stream.Write:
		_, err := f.WriteAt(c.Data, int64(c.Offset))
		return err
	case stream.EncodedWrite:
		return writeEncoded(f, c)
	case stream.Clone:
		return b.clone(f, c)
	case stream.Truncate:
		return f.Truncate(int64(c.Size))
	}
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE
	if c.Mode&^known != 0 {
		return fmt.Errorf("mode %#x: %w", c.Mode, unix.EINVAL)
	}
	return unix.Fallocate(int(f.Fd()), uint32(c.Mode), int64(c.Offset), int64(c.Size))
}

func (b *builder) clone(f *os.File, c stream.Command) error {
	top := b.sources[c.From]
	if top == nil {
		return fmt.Errorf("its source is in the subvolume %s, which is not the base: %w", c.From, unix.EXDEV)
	}
	from, err := openRegular(top, c.FromPath, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer closeAll(from)
	return unix.IoctlFileCloneRange(int(f.Fd()), &unix.FileCloneRange{
		Src_fd: int64(from.Fd()), Src_offset: c.FromOffset, Src_length: c.Size, Dest_offset: c.Offset,
	})
}

// attribute changes what an inode of any kind is said to be.
func (b *builder) attribute(c stream.Command) error {
	node, err := openNode(b.top, c.Path)
	if err != nil {
		return err
	}
	defer closeAll(node)
	fd := int(node.Fd())
	// An inode that is open by O_PATH has no calls for these; the link in /proc leads to it and nowhere else, a symbolic link
	// included (open(2), O_PATH).
	self := "/proc/self/fd/" + strconv.Itoa(fd)
	switch c.Op {
	case stream.Chmod:
		if err := notLink(fd); err != nil {
			return err
		}
		return unix.Chmod(self, uint32(c.Mode)&0o7777)
	case stream.Chown:
		if c.UID >= math.MaxUint32 || c.GID >= math.MaxUint32 { // the largest means "as before"
			return unix.EINVAL
		}
		return unix.Fchownat(fd, "", int(c.UID), int(c.GID), unix.AT_EMPTY_PATH)
	case stream.Utimes:
		times := []unix.Timespec{
			{Sec: c.Accessed.Unix(), Nsec: int64(c.Accessed.Nanosecond())},
			{Sec: c.Edited.Unix(), Nsec: int64(c.Edited.Nanosecond())},
		}
		if c.Path == "" {
			b.times = times
		}
		return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
	case stream.SetXattr:
		err := unix.Setxattr(self, c.Name, c.Data, 0)
		if errors.Is(err, unix.EINVAL) && strings.HasPrefix(c.Name, "btrfs.") {
			return nil // how to store it, which is not to be had here: compression, where the mount has no checksums
		}
		return err
	}
	err = unix.Removexattr(self, c.Name)
	if errors.Is(err, unix.ENODATA) {
		return nil // a change of owner takes the capabilities away by itself
	}
	return err
}

// name makes, moves or removes a name.
func (b *builder) name(c stream.Command) error {
	dir, name, err := b.parent(c.Path)
	if err != nil {
		return err
	}
	defer closeAll(dir)
	at := int(dir.Fd())
	switch c.Op {
	case stream.MakeFile:
		fd, err := unix.Openat(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	case stream.MakeDir:
		return unix.Mkdirat(at, name, 0o700)
	case stream.MakeNode:
		kind := uint32(c.Mode) & unix.S_IFMT
		if kind != unix.S_IFCHR && kind != unix.S_IFBLK {
			return fmt.Errorf("mode %#o: %w", c.Mode, unix.EINVAL)
		}
		return unix.Mknodat(at, name, kind|0o600, int(c.Device))
	case stream.MakeFifo:
		return unix.Mknodat(at, name, unix.S_IFIFO|0o600, 0)
	case stream.MakeSocket:
		return unix.Mknodat(at, name, unix.S_IFSOCK|0o600, 0)
	case stream.Symlink:
		return unix.Symlinkat(c.To, at, name)
	case stream.Unlink:
		return unix.Unlinkat(at, name, 0)
	case stream.RemoveDir:
		return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	}
	to, toName, err := b.parent(c.To)
	if err != nil {
		return err
	}
	defer closeAll(to)
	switch c.Op {
	case stream.Rename:
		return unix.Renameat(at, name, int(to.Fd()), toName)
	case stream.Link: // the path is the new name
		return unix.Linkat(int(to.Fd()), toName, at, name, 0)
	}
	return fmt.Errorf("not known: %w", unix.EOPNOTSUPP)
}

// parent opens the directory that a path's last name is in.
func (b *builder) parent(at string) (dir *os.File, name string, err error) {
	up, name := path.Split(at)
	dir, err = openInside(b.top, path.Clean("./"+up), unix.O_PATH|unix.O_DIRECTORY)
	return dir, name, err
}

// open opens a regular file for writing, or has it open still: most commands are about the file of the one before.
func (b *builder) open(at string) (*os.File, error) {
	if b.file != nil && b.path == at {
		return b.file, nil
	}
	b.close()
	f, err := openRegular(b.top, at, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	b.file, b.path = f, at
	return f, nil
}

func (b *builder) close() {
	closeAll(b.file) // syncfs tells what could not be written
	b.file = nil
}
