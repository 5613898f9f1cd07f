package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// Phase is how far a restore has come.
type Phase string

// The phases, in their order. Up to Placing a restore that was killed is undone; from Starting on it is finished.
const (
	Preparing Phase = "preparing" // what is to come is being made, or removed again; containers run
	Stopping  Phase = "stopping"  // containers are being stopped, and the present state is being kept
	Placing   Phase = "placing"   // what is to come is being put in its place
	Starting  Phase = "starting"  // all of it is in its place; containers are being started
	Cleaning  Phase = "cleaning"  // all is well, and what was replaced is being removed
)

const (
	journalVersion = 1
	journalLimit   = 4 << 20
)

// Journal is what is known of a restore that has begun and not ended.
type Journal struct {
	Version    int          `json:"version"`
	App        string       `json:"app"`
	Set        driver.SetID `json:"set"`
	Begun      time.Time    `json:"begun"`
	Phase      Phase        `json:"phase"`
	Undo       driver.SetID `json:"undo"`
	Containers []Container  `json:"containers"`
	Items      []Item       `json:"items"`

	// See Plan.
	Fetched bool            `json:"fetched"`
	Record  json.RawMessage `json:"record,omitempty"`
	Asked   []string        `json:"asked,omitempty"`

	path string
}

// PathOf is where the journal of an app's restore is.
func PathOf(stateDir, app string) string { return filepath.Join(stateDir, "restores", app+".json") }

// Read returns the journal of the restore of app that did not end, nil if there is none. ErrDamaged: there is one that cannot be
// understood.
func Read(stateDir, app string) (*Journal, error) {
	path := PathOf(stateDir, app)
	text, err := state.ReadFile(path, journalLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	j := &Journal{path: path}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	known := []Phase{Preparing, Stopping, Placing, Starting, Cleaning}
	if j.Version != journalVersion || j.App != app || !slices.Contains(known, j.Phase) {
		return nil, fmt.Errorf("%w: %s: version %d of app %q in phase %q", ErrDamaged, path, j.Version, j.App, j.Phase)
	}
	return j, nil
}

// Sweep removes what killed processes left of the journal of an app's restore. The caller holds the app's lock.
func Sweep(stateDir, app string) error {
	return state.Sweep(filepath.Dir(PathOf(stateDir, app)), filepath.Base(PathOf(stateDir, app)))
}

func (j *Journal) write() error {
	text, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return err
	}
	return state.WriteFile(j.path, append(text, '\n'), 0o600)
}

func (j *Journal) remove() error { return state.Remove(j.path) }
