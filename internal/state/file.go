// Package state keeps the little that volsnap writes outside the snapshots: locks, and files that are replaced as a whole.
//
// # Files
//
// WriteFile replaces a file durably: after it returned, a power cut leaves the new content, and before that the old.
// ReadFile reads back with a bound on the size and follows no symbolic link.
//
// # Locks
//
// One lock an app (LockApp), in the run directory. What is frozen is noted there too: see package quiesce. What a stream is being
// made of is kept from being destroyed by Uses.
package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/fault"
)

// WriteFile replaces the file at path, which is created with its directory (mode 0700) when it is missing.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	fault.Point("before write of a state file")
	if err := replace(path, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	fault.Point("after rename of a state file")
	return syncDir(dir)
}

func replace(path string, data []byte, mode os.FileMode) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }() // nothing, once it is replaced
	if _, err := f.Write(data); err != nil {
		return err
	}
	fault.Point("before rename of a state file")
	return f.CloseAtomicallyReplace()
}

// ReplaceFile is WriteFile for a file that is there: one that somebody has removed, or removes at that moment, is an fs.ErrNotExist,
// and stays away.
func ReplaceFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer func() { // removes what was replaced
		if left := f.Cleanup(); !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
	}()
	fault.Point("before write of a state file")
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	fault.Point("before rename of a state file")
	if err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "renameat2", Old: f.Name(), New: path, Err: err}
	}
	fault.Point("after rename of a state file")
	return syncDir(dir)
}

// Sweep removes the temporary files that killed processes left in dir while they wrote files whose names match, which is a
// pattern as of filepath.Match. Nobody else may be writing these files.
func Sweep(dir, match string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := strings.TrimRight(e.Name(), "0123456789") // renameio: "." before the name and a number after it
		temp, err := filepath.Match("."+match, name)
		if err == nil && temp && name != e.Name() && e.Type().IsRegular() {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ReadFile returns the content of a regular file of at most limit bytes. A missing file is an fs.ErrNotExist.
func ReadFile(path string, limit int64) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	var content bytes.Buffer
	content.Grow(int(min(info.Size(), limit)) + bytes.MinRead) // ReadFrom then asks for no more
	if _, err := content.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(content.Len()) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return content.Bytes(), nil
}

// Remove deletes a file durably; that it is gone already is no error.
func Remove(path string) error {
	fault.Point("before removal of a state file")
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fault.Point("after removal of a state file")
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", dir, err), d.Close())
	}
	return d.Close()
}
