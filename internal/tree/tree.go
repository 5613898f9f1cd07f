// Package tree says in one value what a directory holds, so that two of them can be compared that are on different hosts.
package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Digest is a SHA-256 of everything below a directory, itself included: names, kinds, contents, owners, modes, modification times,
// extended attributes and access control lists, device numbers, targets of links, and which names are one file. Other times, the
// room that files take, and what other file systems are mounted in it count for nothing. Nothing is written, and no link is followed.
type Digest struct {
	SHA256 string `json:"sha256"`
	Files  int64  `json:"files"` // of every kind
	Bytes  int64  `json:"bytes"` // of the contents of regular files
}

// Of reads a directory that nobody changes meanwhile.
func Of(ctx context.Context, dir string) (Digest, error) {
	w := &walk{ctx: ctx, dir: dir, sum: sha256.New(), buf: make([]byte, 256<<10), first: map[uint64]string{}}
	err := filepath.WalkDir(dir, w.visit)
	if err != nil {
		return Digest{}, fmt.Errorf("digest of %s: %w", dir, err)
	}
	w.out.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	return w.out, nil
}

type walk struct {
	ctx   context.Context
	dir   string
	dev   uint64 // of the directory
	sum   hash.Hash
	buf   []byte
	first map[uint64]string // the first name of an inode that has several
	out   Digest
}

func (w *walk) visit(at string, _ fs.DirEntry, err error) error {
	if err := errors.Join(err, w.ctx.Err()); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: at, Err: err}
	}
	if at == w.dir {
		w.dev = st.Dev
	}
	name := strings.TrimPrefix(at, w.dir)
	w.out.Files++
	if st.Dev != w.dev {
		w.line("%q is of another file system", name)
		return filepath.SkipDir
	}
	w.line("%q %o %d:%d %x %d.%09d", name, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
	if err := w.attributes(at); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		to, err := os.Readlink(at)
		if err != nil {
			return err
		}
		w.line("-> %q", to)
	case unix.S_IFREG:
		if st.Nlink > 1 {
			if seen, again := w.first[st.Ino]; again {
				w.line("is %q", seen)
				return nil
			}
			w.first[st.Ino] = name
		}
		return w.content(at, st.Size)
	}
	return nil
}

// line writes something that cannot be taken for anything else: names are quoted, and contents come with their size.
func (w *walk) line(format string, args ...any) { _, _ = fmt.Fprintf(w.sum, format+"\n", args...) } // a hash does not fail

func (w *walk) content(at string, size int64) error {
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	w.line("%d", size)
	n, err := io.CopyBuffer(struct{ io.Writer }{w.sum}, struct{ io.Reader }{f}, w.buf)
	w.out.Bytes += n
	if err == nil && n != size {
		err = fmt.Errorf("%s: has %d bytes, and %d were read: it changes", at, size, n)
	}
	return errors.Join(err, f.Close(), w.ctx.Err())
}

func (w *walk) attributes(at string) error {
	names, err := list(at)
	if err != nil {
		return &os.PathError{Op: "listxattr", Path: at, Err: err}
	}
	slices.Sort(names)
	for _, name := range names {
		value, err := attribute(at, name)
		if err != nil {
			return &os.PathError{Op: "getxattr " + name, Path: at, Err: err}
		}
		w.line("%q=%x", name, value)
	}
	return nil
}

func list(at string) ([]string, error) {
	n, err := unix.Llistxattr(at, nil)
	if err != nil || n == 0 {
		return nil, noneOf(err)
	}
	buf := make([]byte, n)
	if n, err = unix.Llistxattr(at, buf); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

func attribute(at, name string) ([]byte, error) {
	n, err := unix.Lgetxattr(at, name, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	n, err = unix.Lgetxattr(at, name, buf)
	return buf[:max(n, 0)], err
}

// noneOf is nil where a file system has no such thing.
func noneOf(err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
