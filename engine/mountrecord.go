package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/report"
)

// mountRecord is what Unmount has to know of a mounted set. It is written before anything else is done, and so may speak of
// what was never made.
type mountRecord struct {
	report.Mounting
	Done      bool              `json:"done"`            // all of it is there
	Made      bool              `json:"made"`            // the directory was made for it
	Place     *PlaceName        `json:"place,omitempty"` // of the replica; nil: the set is of this host
	Snapshots []driver.Snapshot `json:"snapshots"`
}

// PlaceName is what a place of replicas is opened by.
type PlaceName struct {
	Into      []string `json:"into"`      // KIND:WHERE
	Manifests string   `json:"manifests"` // the directory of their manifests
}

// mountRecords is a directory of a record for each directory that a set is mounted at.
type mountRecords struct{ dir string }

func mountRecordsIn(runDir string) mountRecords {
	return mountRecords{filepath.Join(runDir, "mounted")}
}

const (
	mountRecordExt   = ".json"
	mountRecordLimit = 16 << 20
)

func (r mountRecords) path(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(r.dir, hex.EncodeToString(sum[:16])+mountRecordExt)
}

// read returns nil without an error when no set is mounted at dir.
func (r mountRecords) read(dir string) (*mountRecord, error) { return r.readFile(r.path(dir)) }

func (r mountRecords) readFile(path string) (*mountRecord, error) {
	data, err := state.ReadFile(path, mountRecordLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	rec := &mountRecord{}
	if err == nil {
		err = json.Unmarshal(data, rec)
	}
	if err == nil && r.path(rec.Dir) != path {
		err = fmt.Errorf("it is of %q", rec.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of a mounted set %s: %w", path, err)
	}
	return rec, nil
}

func (r mountRecords) write(rec *mountRecord) error {
	data, err := json.MarshalIndent(rec, "", " ")
	if err != nil {
		return err
	}
	return state.WriteFile(r.path(rec.Dir), append(data, '\n'), 0o600)
}

func (r mountRecords) remove(dir string) error { return state.Remove(r.path(dir)) }

// of are the directories at which a set is mounted, or its replicas are. Records that cannot be read count for nothing.
func (r mountRecords) of(id driver.SetID, replica bool) (dirs []string) {
	files, _ := filepath.Glob(filepath.Join(r.dir, "*"+mountRecordExt)) // the pattern is a good one
	for _, path := range files {
		if strings.HasPrefix(filepath.Base(path), ".") {
			continue // half written
		}
		if rec, err := r.readFile(path); err == nil && rec != nil && rec.Set == string(id) && (rec.Place != nil) == replica {
			dirs = append(dirs, rec.Dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

const lockAgain = 20 * time.Millisecond

// alone calls fn while no other process mounts or unmounts sets by these records.
func (r mountRecords) alone(ctx context.Context, fn func() error) (err error) {
	at, err := os.OpenFile(r.dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	again := time.NewTicker(lockAgain)
	defer again.Stop()
	for {
		err := unix.Flock(int(at.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "lock", Path: r.dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
	return errors.Join(state.Sweep(r.dir, "*"+mountRecordExt), fn())
}

// MountedError says that a set stays since it is mounted to be looked at.
type MountedError struct {
	Err  error
	Dirs []string
}

func (m MountedError) Error() string {
	return fmt.Sprintf("%v (it is mounted at %s)", m.Err, strings.Join(m.Dirs, ", "))
}

func (m MountedError) Unwrap() error { return m.Err }

// stays is err, with where the set is mounted if that is why it could not be destroyed.
func (r mountRecords) stays(id driver.SetID, replica bool, err error) error {
	if !errors.Is(err, driver.ErrBusy) {
		return err
	}
	if dirs := r.of(id, replica); len(dirs) > 0 {
		return MountedError{err, dirs}
	}
	return err
}
