package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// node is a host with one app of three volumes on a fake storage, and no Docker: sets are crash-consistent. The freeze is
// tested with a real engine in internal/killtest.
type node struct {
	*engine.Engine
	t       *testing.T
	storage *driverfake.Driver
	app     engine.App
	clock   time.Time
	paths   []string
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{t: t, storage: driverfake.New(t), clock: time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)}
	n.app = engine.App{Name: "app", Keep: retention.Policy{Last: 2}}
	for _, name := range []string{"pg", "files", "a name"} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		n.storage.AddDataset(path)
		n.paths = append(n.paths, path)
		n.app.Volumes = append(n.app.Volumes, inventory.VolumeSpec{Path: path})
	}
	n.app.Volumes[1].NotOlderThan = []string{n.paths[0]}
	n.Engine = &engine.Engine{
		Drivers: []driver.Driver{n.storage},
		Store:   snapset.Store{Dir: filepath.Join(dir, "state")},
		RunDir:  filepath.Join(dir, "run"),
		Zone:    time.UTC,
		Now: func() time.Time {
			n.clock = n.clock.Add(time.Second)
			return n.clock
		},
	}
	return n
}

func (n *node) take() driver.SetID {
	n.t.Helper()
	m, err := n.Snapshot(n.t.Context(), n.app, engine.TakeOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return m.ID
}

func (n *node) sets() []snapset.Set {
	n.t.Helper()
	sets, err := n.Sets(n.t.Context(), n.app.Name)
	if err != nil {
		n.t.Fatal(err)
	}
	return sets
}

func (n *node) ids() []driver.SetID {
	n.t.Helper()
	var ids []driver.SetID
	for _, s := range n.sets() {
		ids = append(ids, s.ID)
	}
	return ids
}

// sound checks I2: every set there is counts, has all its members and a manifest that agrees, and no manifest is left over.
func (n *node) sound() {
	n.t.Helper()
	names := map[string]bool{}
	for _, s := range n.sets() {
		names[string(s.ID)+".json"] = true
		if !s.Complete || len(s.Snapshots) != len(n.paths) {
			n.t.Errorf("set %s: complete %t, %d members, faults %q", s.ID, s.Complete, len(s.Snapshots), s.Manifest.Faults)
		}
		m, err := n.Store.Read(s.ID)
		if err != nil || m == nil || len(m.Members) != len(n.paths) {
			n.t.Errorf("manifest of %s: %+v, %v", s.ID, m, err)
		}
	}
	files, err := os.ReadDir(filepath.Join(n.Store.Dir, "sets", n.app.Name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	for _, f := range files {
		if !names[f.Name()] {
			n.t.Errorf("left over in the state directory: %s", f.Name())
		}
	}
}

func (n *node) has(id driver.SetID) bool { return slices.Contains(n.ids(), id) }
