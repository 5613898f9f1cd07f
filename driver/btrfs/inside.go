package btrfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// inside is how paths of a stream are looked up.
const inside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openInside opens what a path of a stream leads to; "." is the top.
func openInside(top *os.File, at string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: inside}
	for {
		fd, err := unix.Openat2(int(top.Fd()), at, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), at), nil
		}
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) { // EAGAIN: something was renamed meanwhile, openat2(2)
			return nil, err
		}
	}
}

// openNode opens an inode of any kind, a symbolic link too, without being able to read or write it.
func openNode(top *os.File, at string) (*os.File, error) {
	if at == "" {
		at = "."
	}
	return openInside(top, at, unix.O_PATH)
}

// openRegular opens a regular file. It looks what it is before it opens it: to open a device or a pipe can do something.
func openRegular(top *os.File, at string, flags int) (*os.File, error) {
	node, err := openNode(top, at)
	if err != nil {
		return nil, err
	}
	defer closeAll(node)
	var st unix.Stat_t
	if err := unix.Fstat(int(node.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("it is no regular file: %w", unix.EBADF)
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(node.Fd())), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), at), nil
}

func notLink(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	return nil
}
