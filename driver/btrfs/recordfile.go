package btrfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// fewRecords are synced one by one; with more of them two syncs of the file system cost less. Seen: about 1 ms a file.
const fewRecords = 8

// readRecord reads the record of a snapshot in dir, which must be of that set: the sealed one, if there is one. errDamaged:
// it is there, and not as we wrote it.
func readRecord(dir *os.File, set driver.SetID) (record, error) {
	r, err := readRecordFile(dir, set, sealedExt)
	if errors.Is(err, unix.ENOENT) {
		return readRecordFile(dir, set, recordExt)
	}
	if err == nil && errors.Is(unix.Faccessat(int(dir.Fd()), set.SnapshotName()+recordExt, unix.F_OK, 0), unix.ENOENT) {
		return record{}, fmt.Errorf("%w: the one of its making is gone, and without it it could not be unsealed", errDamaged)
	}
	return r, err
}

func readRecordFile(dir *os.File, set driver.SetID, ext string) (record, error) {
	name := set.SnapshotName() + ext
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0)
	if errors.Is(err, unix.ELOOP) {
		return record{}, fmt.Errorf("%w: it is a symbolic link", errDamaged)
	}
	if err != nil {
		return record{}, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	text, err := readFile(fd)
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(text)
	switch {
	case err != nil:
		return record{}, err
	case r.Set != set:
		return record{}, fmt.Errorf("%w: it is of the set %s", errDamaged, r.Set)
	case keyOf(r.Source) != filepath.Base(dir.Name()):
		return record{}, fmt.Errorf("%w: it is of %s", errDamaged, r.Source)
	case r.ext() != ext:
		return record{}, fmt.Errorf("%w: sealed is %t", errDamaged, r.Sealed)
	}
	return r, nil
}

// ext is what the name of the record's file ends in.
func (r record) ext() string {
	if r.Sealed {
		return sealedExt
	}
	return recordExt
}

// readFile reads a regular file of at most recordLimit bytes, without the runtime's poller: a listing reads thousands.
func readFile(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: it is no regular file", errDamaged)
	}
	if st.Size > recordLimit {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, st.Size)
	}
	text := make([]byte, st.Size)
	for n := 0; n < len(text); {
		got, err := unix.Read(fd, text[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case got == 0:
			return nil, fmt.Errorf("%w: %w", errDamaged, io.ErrUnexpectedEOF)
		}
		n += got
	}
	return text, nil
}

// write is a record that is to lie in dir.
type write struct {
	dir *os.File
	record
}

// file is the name of the record's file.
func (w write) file() string { return w.Set.SnapshotName() + w.ext() }

// writeRecords puts records in their places, durably: all are on disk before the first is renamed, and each is the old or
// the new one at any instant. The store is locked.
func writeRecords(store *os.File, all []write) error {
	few := len(all) <= fewRecords
	for _, w := range all {
		if err := writeTemp(w, few); err != nil {
			return errors.Join(err, removeTemps(all))
		}
	}
	if err := flush(store, few, nil); err != nil {
		return errors.Join(err, removeTemps(all))
	}
	dirs := map[*os.File]bool{}
	for _, w := range all {
		fd := int(w.dir.Fd())
		fault.Point("before rename of a record")
		if err := unix.Renameat(fd, w.file()+tempExt, fd, w.file()); err != nil {
			err = &os.PathError{Op: "rename", Path: filepath.Join(w.dir.Name(), w.file()+tempExt), Err: err}
			return errors.Join(err, removeTemps(all))
		}
		dirs[w.dir] = true
	}
	fault.Point("after rename of records")
	return flush(store, few, dirs)
}

func writeTemp(w write, sync bool) (err error) {
	text, err := w.encode()
	if err != nil {
		return err
	}
	at := filepath.Join(w.dir.Name(), w.file()+tempExt)
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(w.dir.Fd()), w.file()+tempExt, flags, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: at, Err: err}
	}
	f := os.NewFile(uintptr(fd), at)
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if sync {
		return f.Sync()
	}
	return nil
}

// flush makes renames in dirs durable, or, of many records, whatever was written so far.
func flush(store *os.File, few bool, dirs map[*os.File]bool) error {
	if !few {
		if err := unix.Syncfs(int(store.Fd())); err != nil {
			return &os.PathError{Op: "syncfs", Path: store.Name(), Err: err}
		}
		return nil
	}
	for dir := range dirs {
		if err := dir.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func removeTemps(all []write) error {
	var failed []error
	for _, w := range all {
		failed = append(failed, remove(w.dir, w.file()+tempExt))
	}
	return errors.Join(failed...)
}
