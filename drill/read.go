package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var (
	errNotRegular = errors.New("it is no regular file")
	errTooLong    = errors.New("it is longer than such a file can be")
)

// openRegular opens a file of a clone, to be read. Whoever wrote the set may have put something else there, and whoever runs in the clone may
// do so at any moment: the opening of a device does what its driver does then, and that of a FIFO waits for a writer. So it is not
// opened, but looked at (open(2), O_PATH), and only a regular one is opened, by what was looked at.
func openRegular(root *os.Root, name string) (*os.File, error) {
	at, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = at.Close() }()
	info, err := at.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	if err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
}

// readRegular reads a file of a clone of at most limit bytes.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLong
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// entries visits those of a directory of a clone, a few at a time: there may be many millions.
func entries(ctx context.Context, root *os.Root, dir string, each func(fs.DirEntry) error) error {
	const few = 1024
	f, err := root.OpenFile(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		found, err := f.ReadDir(few)
		for _, e := range found {
			if err := each(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}
