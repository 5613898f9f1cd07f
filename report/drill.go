package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/volsnap/volsnap/internal/state"
)

// Drill is what a drill found out about a set. Its JSON form is documented in docs/output.md.
type Drill struct {
	App     string       `json:"app"`
	Set     string       `json:"set"`
	From    string       `json:"from"` // the target whose replica it was; empty: the set of this host
	OK      bool         `json:"ok"`   // every check passed
	Started time.Time    `json:"started"`
	TookMS  float64      `json:"took_ms"`
	ReadyMS float64      `json:"ready_ms"` // from the beginning until PostgreSQL accepted connections; 0 without it
	Checks  []DrillCheck `json:"checks"`
}

// DrillCheck is one thing that was looked at.
type DrillCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Failed are the names of the checks that did not pass.
func (d Drill) Failed() []string {
	failed := []string{}
	for _, c := range d.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return failed
}

func drillPath(dir, app string) string { return filepath.Join(dir, "last-drill", app+".json") }

// SaveDrill keeps d as the last drill of its app in the state directory.
func SaveDrill(dir string, d Drill) error {
	data, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return fmt.Errorf("encode drill of %s: %w", d.App, err)
	}
	return state.WriteFile(drillPath(dir, d.App), append(data, '\n'), 0o600)
}

// LoadDrill returns the last drill of app, as Load does the last run.
func LoadDrill(dir, app string) (*Drill, error) {
	data, err := state.ReadFile(drillPath(dir, app), sizeLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last drill of %s: %w", app, err)
	}
	d := &Drill{}
	if json.Unmarshal(data, d) != nil || d.App != app {
		return nil, nil
	}
	return d, nil
}
