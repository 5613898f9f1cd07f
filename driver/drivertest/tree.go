package drivertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// plant makes files of every kind in a directory: names that are hard to write, owners, modes, times, extended attributes, links,
// holes, devices. Seed decides what the larger ones hold.
func plant(dir string, seed uint64) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	var failed []error
	do := func(err error) { failed = append(failed, err) }
	for _, name := range []string{"a dir", "a dir/deeper\nstill", "empty", "gone later"} {
		do(os.Mkdir(at(name), 0o751))
	}
	for name, size := range map[string]int{
		"small": 5, "empty file": 0, " leading space": 4096, "new\nline": 100, "a dir/\u00fc\u00f1\u00ef": 70_000,
		"a dir/deeper\nstill/\xff\xfe not UTF-8": 3, "big": 1 << 20, "gone later/f": 10, "to be moved": 9000, "-rf": 1, "..data": 2,
	} {
		do(os.WriteFile(at(name), noise(seed, name, size), 0o640))
	}
	do(sparse(at("sparse"), 8<<20))
	do(os.Chown(at("small"), 1234, 4321))
	do(os.Chmod(at("small"), 0o4755|fs.ModeSetuid))
	do(os.Chmod(at("a dir"), 0o1777|fs.ModeSticky))
	do(os.Link(at("small"), at("a dir/hard link")))
	do(os.Symlink("../../../../etc/passwd", at("a link")))
	do(os.Symlink("a dir", at("link to dir")))
	do(os.Lchown(at("a link"), 77, 88))
	do(unix.Mkfifo(at("fifo"), 0o600))
	do(unix.Mknod(at("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	do(unix.Setxattr(at("big"), "user.volsnap", []byte("v\x00\xffalue"), 0))
	do(unix.Setxattr(at("empty"), "trusted.volsnap", []byte("on a directory"), 0))
	do(unix.Lsetxattr(at("a link"), "trusted.volsnap", []byte("on a link"), 0))
	do(os.Chtimes(at("big"), time.Unix(1, 1), time.Unix(1_000_000_000, 123_456_789)))
	do(os.Chtimes(at("empty"), time.Unix(1, 1), time.Unix(-5, 0)))
	return errors.Join(failed...)
}

// tend changes what plant made: it writes and adds, and the first time it also moves, swaps and removes.
func tend(dir string, seed uint64) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	var failed []error
	do := func(err error) { failed = append(failed, err) }
	f, err := os.OpenFile(at("big"), os.O_WRONLY, 0)
	do(err)
	if err == nil {
		_, err = f.WriteAt(noise(seed, "in the middle", 5000), 300_001)
		do(errors.Join(err, f.Close()))
	}
	do(os.WriteFile(at(fmt.Sprint("new ", seed)), noise(seed, "new", 40_000), 0o600))
	if _, err := os.Lstat(at("gone later")); err == nil {
		do(reshape(at))
	}
	return errors.Join(failed...)
}

func reshape(at func(string) string) error {
	var failed []error
	do := func(err error) { failed = append(failed, err) }
	do(os.Truncate(at("a dir/\u00fc\u00f1\u00ef"), 12_345))
	do(os.RemoveAll(at("gone later")))
	do(os.Rename(at("to be moved"), at("a dir/moved here")))
	do(os.Rename(at("a dir/deeper\nstill"), at("raised")))
	do(os.Remove(at("a dir/hard link")))
	do(os.Link(at("big"), at("second name")))
	do(os.Remove(at("fifo")))
	do(os.WriteFile(at("fifo"), []byte("no fifo any more"), 0o600))
	do(unix.Removexattr(at("empty"), "trusted.volsnap"))
	do(os.Chmod(at("small"), 0o600))
	do(os.Rename(at("-rf"), at("swap")))
	do(os.Rename(at("..data"), at("-rf")))
	do(os.Rename(at("swap"), at("..data")))
	return errors.Join(failed...)
}

func noise(seed uint64, name string, size int) []byte {
	key := sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, name))
	out := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(out) // cannot fail
	return out
}

// sparse makes a file with holes at its beginning, in its middle and at its end.
func sparse(at string, size int64) error {
	f, err := os.Create(at)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("between the holes"), size/3)
	return errors.Join(err, f.Truncate(size), f.Close())
}

// digest says of everything below dir what it is, one line each, by system calls alone. Of what is not rich it leaves out whatever
// a copy of the content does not keep.
func digest(dir string, rich bool) (string, error) {
	var lines []string
	links := map[uint64]string{} // the first name of an inode
	err := filepath.WalkDir(dir, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := describe(dir, at, rich, links)
		lines = append(lines, line)
		return err
	})
	return strings.Join(lines, "\n"), err
}

func describe(dir, at string, rich bool, links map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return "", err
	}
	name := strings.TrimPrefix(at, dir)
	line := fmt.Sprintf("%q %o", name, st.Mode&unix.S_IFMT)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		text, err := os.ReadFile(at)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" %d %x", st.Size, sha256.Sum256(text))
	case unix.S_IFLNK:
		to, err := os.Readlink(at)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" -> %q", to)
	}
	if !rich {
		return line, nil
	}
	line += fmt.Sprintf(" %o %d:%d %x %d.%09d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, seen := links[st.Ino]; !seen {
			links[st.Ino] = name
		}
		line += fmt.Sprintf(" %d of %q", st.Nlink, links[st.Ino])
	}
	attrs, err := xattrs(at)
	return line + attrs, err
}

// xattrs are the extended attributes, also of a symbolic link, sorted.
func xattrs(at string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(at, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", &os.PathError{Op: "llistxattr", Path: at, Err: err}
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	out := ""
	for _, name := range names {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(at, name, value)
		if err != nil {
			return "", &os.PathError{Op: "lgetxattr " + name, Path: at, Err: err}
		}
		out += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return out, nil
}
