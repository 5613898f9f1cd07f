// Package restore puts the state of a set in the place of an app's volumes, and takes it back when anything fails.
//
// # In place
//
// What is to come is made beside what is there; containers are stopped and kept from being started by the engine; the present
// state is taken as an undo set; then the new state is put in its place: a dataset that holds nothing but volumes of the set is swapped
// for a clone of its snapshot (driver.Stager), and a directory or file of a larger dataset for a copy, by one rename. Then the
// containers are started, and databases are awaited. Nothing is written over, and nothing that was there goes before all of it succeeded. Nobody
// else may use the volumes meanwhile: a container that was started is found before they are replaced and after, and then all is put back.
//
// # What a killed restore leaves
//
// A journal in the state directory, which names all that is about to be made before it is made. While there is one, the
// containers that were stopped stay so, also over a boot, and once they were to be stopped no set is taken; the next restore of the
// app first undoes what had been begun, or finishes it if everything was in its place already. So whatever the containers see is
// all old or all new.
package restore

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

// What callers branch on.
var (
	ErrUndone     = errors.New("the restore was undone: all is as it was")
	ErrUnfinished = errors.New("a restore did not end")
	ErrOlder      = errors.New("files would be older than the database that names them")
	ErrDamaged    = errors.New("the journal of a restore is damaged")
	ErrStarted    = errors.New("a container was started meanwhile")
	ErrNotStarted = errors.New("a container could not be started again") // and all else is as it was
	ErrNoUndo     = errors.New("what was replaced is in no set")
)

// Docker is what this package asks of an engine. See package docker for the contracts.
type Docker interface {
	inventory.Docker
	Inspect(ctx context.Context, id string) (docker.Container, error)
	Stop(ctx context.Context, id string, seconds int) error
	Start(ctx context.Context, id string) error
	SetRestart(ctx context.Context, id string, p docker.RestartPolicy) error
	Exec(ctx context.Context, id string, argv []string, opts docker.ExecOptions) (docker.ExecResult, error)
}

// Storage is one kind of storage on this host.
type Storage interface {
	driver.Stager
	driver.Mounter
}

// Source holds snapshots that are restored: a Storage, or a place to which replicas were fetched.
type Source interface {
	driver.Mounter
	StageOf(s driver.Snapshot, name string) (driver.Dataset, error)
	Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error)
}

// Method is how the old state is replaced by the new.
type Method string

// The methods.
const (
	Swap Method = "swap" // of datasets; nothing is copied
	Copy Method = "copy" // of files, which share their blocks with the snapshot where the storage can, and a rename
)

// Item is what is replaced in one step.
type Item struct {
	Method   Method          `json:"method"`
	Volumes  []string        `json:"volumes"`
	Paths    []string        `json:"paths"` // where the volumes are on this host
	Snapshot driver.Snapshot `json:"snapshot"`

	Dataset driver.Dataset `json:"dataset"` // that the volumes lie in
	Name    string         `json:"name"`    // of what is made
	Stage   driver.Dataset `json:"stage"`   // Swap: where the clone is made, and then the old dataset is
	Inside  string         `json:"inside"`  // Copy: the volume's path in the snapshot
	Aside   string         `json:"aside"`   // Copy: where the copy is made, and then the old one is

	New string `json:"new,omitempty"` // GUID of the clone, or identity of the copy, once it is made
	Old string `json:"old,omitempty"` // of what was there before
}

// Container is one that was stopped.
type Container struct {
	ID      string               `json:"id"`
	Name    string               `json:"name"`
	Level   int                  `json:"level"` // it is started when those of lower levels run, and stopped before them
	Restart docker.RestartPolicy `json:"restart"`
	Timeout int                  `json:"timeout"`        // seconds that it has to stop
	Idle    bool                 `json:"idle,omitempty"` // it did not run, and is only kept from being started
	// Database is how to reach the database in it; nil if there is none.
	Database *inventory.Postgres `json:"database,omitempty"`
}

// Plan is what a restore in place would do.
type Plan struct {
	App        string
	Fetched    bool            // the snapshots are replicas that were fetched, see Work.Fetched
	Record     json.RawMessage // whatever Work.Restored wants to find in the journal
	Set        driver.SetID
	Asked      []string // the volumes that were asked for; none: all
	Items      []Item
	Containers []Container // that use the volumes now, by level
}

// Result is what a restore did.
type Result struct {
	Undo       driver.SetID   // holds what was there before
	Containers []Container    // that were stopped
	Ready      *time.Duration // from the beginning until the last database accepted connections; nil if there is none
	Kept       []string       // what was replaced and could not be removed, with the reason; its state is in the undo set
}
