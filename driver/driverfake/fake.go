// Package driverfake is a storage in memory that obeys the contract of package driver, for tests of what stands above it.
//
// # Use
//
//	d := driverfake.New(t)
//	pg := d.AddDataset("/srv/pg")           // Resolve("/srv/pg/data") finds it
//	d.Fault("Seal", 1, driver.ErrNoSpace)   // the next call of Seal fails
//	d.KillAt(7)                             // the 7th effect from now on is the last one this process lives to see
//	d.Restart()                             // a new process on the same storage
//	p := driverfake.NewPlace(t, "backup")   // a place for replicas, with a script of its own
//
// # What it checks
//
// Whatever the code under test does, t.Cleanup complains if it tried to destroy what is pinned or not ours, destroyed a
// sealed snapshot, unsealed a member of an app's newest complete set, or left a group or a mount open. Permit and
// Unchecked make exceptions. The same suite as for real storage (drivertest) keeps the fake honest.
package driverfake

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

// Kind is the kind of the datasets of a fake that New made.
const Kind = "fake"

// Driver is a storage in memory, and the process that uses it. Its methods may be called concurrently.
type Driver struct {
	core
	atomic   bool
	datasets map[string]*dataset
}

// core is what a Driver and a Place have in common: snapshots, what can be done with them, and the script.
type core struct {
	kind  string
	place string // the name of the place, "" for a Driver
	mu    sync.Mutex
	snaps map[string]*snapshot // by name
	order uint64
	space driver.Space

	script     script
	violations violations
}

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Sender   = (*Driver)(nil)
	_ driver.Stager   = (*Driver)(nil)
	_ driver.Receiver = (*Place)(nil)
	_ driver.Sender   = (*Place)(nil)
)

type dataset struct {
	guid     string
	pool     string
	files    map[string]string
	findings []driver.Finding
}

// snapshot is a snapshot with what it holds. An intent is a record that Prepare wrote and Take has not used yet.
type snapshot struct {
	driver.Snapshot
	files   map[string]string
	intent  bool
	foreign bool
	mounts  int
	streams int // that hold it, see hold
}

// New is an empty storage whose invariants are checked when the test ends.
func New(t testing.TB) *Driver { return NewKind(t, Kind) }

// NewKind is New for a host with several storages.
func NewKind(t testing.TB, kind string) *Driver {
	d := &Driver{datasets: map[string]*dataset{}}
	d.start(t, kind)
	return d
}

// start makes it empty, and looks at its invariants when the test ends.
func (d *core) start(t testing.TB, kind string) {
	d.kind, d.snaps = kind, map[string]*snapshot{}
	d.space = driver.Space{FreeBytes: 1 << 40, TotalBytes: 1 << 41}
	t.Cleanup(func() {
		for _, what := range d.Violations() {
			t.Errorf("driverfake: %s", what)
		}
	})
}

// AddDataset makes an empty dataset at an absolute path, in the pool "pool".
func (d *Driver) AddDataset(at string) driver.Dataset {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.datasets[at] = &dataset{guid: d.newGUID(), pool: "pool", files: map[string]string{}}
	return driver.Dataset{Kind: d.kind, Name: at}
}

// RemoveDataset takes a dataset away; its snapshots stay.
func (d *Driver) RemoveDataset(ds driver.Dataset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.datasets, ds.Name)
}

// SetPool moves a dataset to another pool.
func (d *Driver) SetPool(ds driver.Dataset, pool string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.datasets[ds.Name].pool = pool
}

// SetAtomic makes each group one instant from now on, or not.
func (d *Driver) SetAtomic(atomic bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.atomic = atomic
}

// SetSpace is what Space answers from now on.
func (d *core) SetSpace(s driver.Space) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = s
}

// AddFinding adds to what Resolve finds about paths in the dataset.
func (d *Driver) AddFinding(ds driver.Dataset, f driver.Finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.datasets[ds.Name].findings = append(d.datasets[ds.Name].findings, f)
}

// Write puts a file into a dataset.
func (d *Driver) Write(ds driver.Dataset, file, content string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.datasets[ds.Name].files[file] = content
}

// Read is the content of a file of a dataset, "" if there is none.
func (d *Driver) Read(ds driver.Dataset, file string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.datasets[ds.Name]; have != nil {
		return have.files[file]
	}
	return ""
}

// AddForeign makes a snapshot that is not volsnap's, whatever its name, and returns it as somebody might name it.
func (d *Driver) AddForeign(ds driver.Dataset, name string) driver.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &snapshot{foreign: true, Snapshot: driver.Snapshot{Dataset: ds, Name: ds.Name + "@" + name, Sealed: true}}
	if id, err := driver.ParseName(name); err == nil {
		s.Set = id
	}
	d.identify(s)
	d.snaps[s.Name] = s
	return s.Snapshot
}

// SetFault makes the storage find a snapshot changed since it was sealed. An empty fault takes it back.
func (d *core) SetFault(s driver.Snapshot, fault string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.snaps[s.Name]; have != nil {
		have.Fault = fault
	}
}

// Foreign are the names of the snapshots of AddForeign that are still there, sorted.
func (d *Driver) Foreign() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, s := range d.snaps {
		if s.foreign {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Kind implements driver.Driver.
func (d *core) Kind() string { return d.kind }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities {
	d.mu.Lock()
	defer d.mu.Unlock()
	return driver.Capabilities{AtomicGroup: d.atomic, Clone: true}
}

// identify gives a snapshot that was just made its GUID and its place in the order. d.mu is held.
func (d *Driver) identify(s *snapshot) {
	s.GUID = d.newGUID()
	s.Order = d.order
	if have := d.datasets[s.Dataset.Name]; have != nil {
		s.files = maps.Clone(have.files)
	}
}

// newGUID is one that nothing has. d.mu is held.
func (d *core) newGUID() string {
	d.order++
	sum := sha256.Sum256(fmt.Appendf(nil, "%p %d", d, d.order))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// Resolve implements driver.Taker. Every path at or below a dataset exists.
func (d *Driver) Resolve(ctx context.Context, at string) (driver.Place, error) {
	if err := d.enter(ctx, "Resolve", at); err != nil {
		return driver.Place{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at = path.Clean(at)
	for name := at; ; name = path.Dir(name) {
		if ds := d.datasets[name]; ds != nil {
			rel := strings.TrimPrefix(strings.TrimPrefix(at, name), "/")
			if rel == "" {
				rel = "."
			}
			return driver.Place{
				Dataset: driver.Dataset{Kind: d.kind, Name: name}, Path: rel, Pool: ds.pool,
				Findings: slices.Clone(ds.findings),
			}, nil
		}
		if name == "/" || name == "." {
			return driver.Place{}, fmt.Errorf("resolve %s: %w", at, driver.ErrNotSupported)
		}
	}
}

// Space implements driver.Taker.
func (d *Driver) Space(ctx context.Context, ds driver.Dataset) (driver.Space, error) {
	if err := d.enter(ctx, "Space", ds.Name); err != nil {
		return driver.Space{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.datasets[ds.Name] == nil {
		return driver.Space{}, fmt.Errorf("space of %s: %w", ds, driver.ErrNotFound)
	}
	return d.space, nil
}
