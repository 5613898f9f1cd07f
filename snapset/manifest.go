package snapset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/state"
)

// Manifest is what volsnap recorded about a set while taking it. Its JSON form is the output of `snapshot`, `show` and
// `list`, documented field by field in docs/output.md.
type Manifest struct {
	ID          driver.SetID     `json:"id"`
	App         string           `json:"app"`
	Label       string           `json:"label"`
	Created     time.Time        `json:"created"`
	Complete    bool             `json:"complete"`
	Consistency Consistency      `json:"consistency"`
	Pins        []string         `json:"pins"`
	Bases       []string         `json:"bases"` // targets whose next increment builds on it
	PauseMS     float64          `json:"pause_ms"`
	Containers  []ContainerPause `json:"containers"`
	Checkpoints []Checkpoint     `json:"checkpoints"`
	Members     []Member         `json:"members"`
	Faults      []string         `json:"faults,omitempty"` // why it is not complete
	Drills      []Drill          `json:"drills,omitempty"` // that were done with it, oldest first; the newest few
	Guard       *Guard           `json:"guard,omitempty"`  // of a set that was taken before a command
}

// Guard is what that command was, and what it may change besides the volumes: going back takes the old programs too.
type Guard struct {
	Command []string  `json:"command"`
	Images  []Image   `json:"images"`
	Alembic string    `json:"alembic_version"` // of the app's database; empty if it has none
	Expires time.Time `json:"expires"`         // until when the set is pinned for this
}

// Image is what a container ran that used the volumes.
type Image struct {
	Container string   `json:"container"`
	Image     string   `json:"image"`   // as it was asked for
	ID        string   `json:"id"`      // "sha256:..."
	Digests   []string `json:"digests"` // by which registries know it; none of an image that was built here
}

// ContainerPause is how long one container was held.
type ContainerPause struct {
	Name     string  `json:"name"`
	Step     string  `json:"step"`
	PausedMS float64 `json:"paused_ms"`
}

// Checkpoint is a PostgreSQL CHECKPOINT that ended before the pause. LSN is the write-ahead log's position after it.
type Checkpoint struct {
	Container string  `json:"container"`
	LSN       string  `json:"lsn"`
	TookMS    float64 `json:"took_ms"`
}

// Member is one volume of the set. Several volumes that lie in one dataset share a snapshot.
type Member struct {
	Volume       string    `json:"volume"`
	Driver       string    `json:"driver"`
	Dataset      string    `json:"dataset"`
	Path         string    `json:"path"`
	Snapshot     string    `json:"snapshot"`
	GUID         string    `json:"guid"`
	Order        uint64    `json:"order"`
	Taken        time.Time `json:"taken"`
	NotOlderThan []string  `json:"not_older_than"`
	OrderedBy    OrderedBy `json:"ordered_by,omitempty"` // how NotOlderThan was shown to hold
}

const manifestLimit = 4 << 20

// Store keeps the full manifests in a directory, one file a set. Losing them costs detail, never a set.
type Store struct{ Dir string }

func (s Store) path(id driver.SetID) string {
	return filepath.Join(s.Dir, "sets", id.App(), string(id)+".json")
}

// Write replaces the set's manifest durably.
func (s Store) Write(m *Manifest) error {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode manifest of %s: %w", m.ID, err)
	}
	return state.WriteFile(s.path(m.ID), append(data, '\n'), 0o600)
}

// Remove deletes the set's manifest; that there is none is no error. It need not be durable: a manifest without its set
// says nothing.
func (s Store) Remove(id driver.SetID) error {
	fault.Point("before removal of a manifest")
	defer fault.Point("after removal of a manifest")
	err := os.Remove(s.path(id))
	if errors.Is(err, syscall.EROFS) { // which is said of a file that is not there too
		if _, gone := os.Lstat(s.path(id)); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

// roomForOne is more than the manifest of nearly every set.
const roomForOne = 64 << 10

// Ready tells, by trying, whether the manifest of a set could be written now.
func (s Store) Ready(id driver.SetID) error {
	dir := filepath.Dir(s.path(id))
	if err := errors.Join(os.MkdirAll(dir, 0o700), try(filepath.Join(dir, "probe"))); err != nil {
		return fmt.Errorf("the state directory takes no manifest: %w", err)
	}
	return nil
}

// try writes a file durably and removes it. When we are killed in between it stays, and is written again the next time.
func try(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, roomForOne))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}

// Sweep removes what killed runs of app left of manifests. The caller holds the app's lock.
func (s Store) Sweep(app string) error {
	return state.Sweep(filepath.Join(s.Dir, "sets", app), "*.json")
}

// SweepSet removes what killed processes left of one set's manifest. Whoever writes it at that moment fails.
func (s Store) SweepSet(id driver.SetID) error {
	return state.Sweep(filepath.Dir(s.path(id)), filepath.Base(s.path(id)))
}

// Read returns the manifest of a set, nil without an error when there is none, and an error when it is damaged.
func (s Store) Read(id driver.SetID) (*Manifest, error) {
	data, err := state.ReadFile(s.path(id), manifestLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest of %s: %w", id, err)
	}
	m, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read manifest of %s: %w", id, err)
	}
	if m.ID != id {
		return nil, fmt.Errorf("read manifest of %s: it is of %q", id, m.ID)
	}
	return m, nil
}

// Newest returns the newest manifest of app that can be read, nil without an error when there is none.
func (s Store) Newest(app string) (*Manifest, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, "sets", app))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("look for manifests of %s: %w", app, err)
	}
	for _, e := range slices.Backward(entries) { // sorted by name, and so by time
		name, isManifest := strings.CutSuffix(e.Name(), ".json")
		id, err := driver.ParseSetID(name)
		if err != nil || !isManifest || id.App() != app {
			continue
		}
		if m, err := s.Read(id); err == nil && m != nil {
			return m, nil
		}
	}
	return nil, nil
}

func parse(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, err
	}
	if _, err := driver.ParseSetID(string(m.ID)); err != nil {
		return nil, err
	}
	if m.App != m.ID.App() {
		return nil, fmt.Errorf("app is %q", m.App)
	}
	return m, nil
}

// ReadAll returns the manifests of the sets that have a readable one. A damaged one counts as lost.
func (s Store) ReadAll(ids []driver.SetID) map[driver.SetID]*Manifest {
	found := make(map[driver.SetID]*Manifest, len(ids))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(readers)
	for part := range readers {
		g.Go(func() error {
			for i := part; i < len(ids); i += readers {
				if m, err := s.Read(ids[i]); err == nil && m != nil {
					mu.Lock()
					found[m.ID] = m
					mu.Unlock()
				}
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return found
}

const readers = 4
