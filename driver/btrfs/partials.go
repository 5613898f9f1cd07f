package btrfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// Partials implements driver.Receiver. Of what arrives at this moment it tells nothing.
func (r *Replicas) Partials(ctx context.Context) ([]driver.Partial, error) {
	out, err := r.partials(ctx)
	if err != nil {
		return nil, fmt.Errorf("list broken transfers in %s: %w", r.dir, classify(err))
	}
	return out, nil
}

func (r *Replicas) partials(ctx context.Context) ([]driver.Partial, error) {
	if err := ctx.Err(); err != nil || !r.options.Resume {
		return nil, err
	}
	home, _, err := r.open()
	if err != nil {
		return nil, err
	}
	defer closeAll(home)
	if err := lock(ctx, home); err != nil {
		return nil, err
	}
	dirs, err := lister{realm: r.realm}.keysIn(home, "")
	defer func() { closeKeys(dirs) }()
	if err != nil {
		return nil, err
	}
	var out []driver.Partial
	for _, k := range dirs {
		got, err := partialsIn(k.dir)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

// partialsIn are those of one dataset. While another stream of it arrives there are none. The store is locked.
func partialsIn(dir *os.File) ([]driver.Partial, error) {
	free, err := tryLock(dir, unix.LOCK_SH)
	if err != nil || !free {
		return nil, err
	}
	names, err := spoolsIn(dir)
	if err != nil {
		return nil, err
	}
	var out []driver.Partial
	for _, name := range names {
		p, err := partialOf(dir, name)
		if errors.Is(err, driver.ErrStale) {
			continue // the next Receive removes it
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func spoolsIn(dir *os.File) ([]string, error) {
	again, err := openDirIn(dir, ".")
	if err != nil {
		return nil, err
	}
	defer closeAll(again)
	names, err := again.Readdirnames(-1)
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool {
		rest, isStaging := strings.CutPrefix(name, stagingPrefix)
		snapshot, isSpool := strings.CutSuffix(rest, spoolExt)
		_, err := driver.ParseName(snapshot)
		return !isStaging || !isSpool || err != nil
	}), err
}

// partialOf is what a spool keeps: up to the last chunk that is whole. The others are checked when they are used.
func partialOf(dir *os.File, name string) (driver.Partial, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return driver.Partial{}, fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
	defer closeAll(f)
	head, start, err := readSpoolHead(f)
	if err != nil {
		return driver.Partial{}, err
	}
	type chunk struct {
		token
		from, to int64
	}
	var all []chunk
	if _, err := scanChunks(f, start, func(t token, from, to int64) bool {
		all = append(all, chunk{t, from, to})
		return false
	}); err != nil {
		return driver.Partial{}, err
	}
	for _, c := range slices.Backward(all) {
		var own [sha256.Size]byte
		data := make([]byte, c.to-c.from)
		_, err1 := f.ReadAt(own[:], c.from-2*sha256.Size)
		_, err2 := f.ReadAt(data, c.from)
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, io.EOF) {
			return driver.Partial{}, err
		}
		if sha256.Sum256(data) == own {
			return driver.Partial{GUID: head.GUID, Base: head.Base, Token: c.String(), Bytes: c.bytes}, nil
		}
	}
	return driver.Partial{}, fmt.Errorf("nothing is kept: %w", driver.ErrStale)
}

// removeSpools removes what is kept of broken transfers in a directory, but for one.
func removeSpools(dir *os.File, but string) error {
	names, err := spoolsIn(dir)
	for _, name := range names {
		if name != but {
			err = errors.Join(err, remove(dir, name))
		}
	}
	return err
}
