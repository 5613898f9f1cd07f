package btrfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// sweep removes the records beside which there is no snapshot, unless a group that is under way may have made them. The
// store is locked.
func sweep(dir *os.File) error {
	alone, err := tryLock(dir, unix.LOCK_EX)
	if err != nil || !alone {
		return err
	}
	again, err := openDir(dir.Name())
	if err != nil {
		return err
	}
	defer func() { _ = again.Close() }()
	entries, err := again.Readdirnames(-1)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, name := range entries {
		have[name] = true
	}
	for _, name := range entries {
		snapshot, temporary := recordOf(name)
		if snapshot == "" || have[snapshot] && !temporary {
			continue
		}
		if err := remove(dir, name); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EISDIR) {
			return err
		}
	}
	return nil
}

// recordOf is the name of the snapshot that a file is the record of, "" if it is none.
func recordOf(file string) (snapshot string, temporary bool) {
	name, temporary := strings.CutSuffix(file, tempExt)
	name, isRecord := strings.CutSuffix(name, recordExt)
	name = strings.TrimSuffix(name, strings.TrimSuffix(sealedExt, recordExt))
	if _, err := driver.ParseName(name); err != nil || !isRecord {
		return "", false
	}
	return name, temporary
}
