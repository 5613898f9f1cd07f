package quiesce

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Flush writes the dirty pages of file systems to disk (syncfs(2)), so that the snapshots need not: a Btrfs snapshot was
// seen to take 13 ms idle and 359 ms with 64 MiB dirty. It holds nothing and cannot be interrupted.
type Flush struct{ Paths []string }

// Entries is nothing.
func (f Flush) Entries() []Entry { return nil }

// Freeze flushes the file system of each path.
func (f Flush) Freeze(context.Context, *Hold) error {
	var g errgroup.Group
	for _, path := range f.Paths {
		g.Go(func() error { return syncFS(path) })
	}
	return g.Wait()
}

func syncFS(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("flush file system: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush file system of %s: %w", path, err)
	}
	return nil
}
