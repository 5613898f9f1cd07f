// Package report is what a run did: one value, kept as the last-run file of its app and rendered as JSON and as metrics in
// the text format of Prometheus.
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

// Run is what one run did for one app. Its JSON form is documented in docs/output.md.
type Run struct {
	App         string        `json:"app"`
	OK          bool          `json:"ok"`
	Set         string        `json:"set"` // empty when none was taken
	Consistency string        `json:"consistency,omitempty"`
	Started     time.Time     `json:"started"`
	TookMS      float64       `json:"took_ms"`
	PauseMS     float64       `json:"pause_ms"`
	Replicated  []Replication `json:"replicated"` // one a target
	Removed     []string      `json:"removed"`    // ids of the sets that were pruned
	Sets        int           `json:"sets"`       // complete sets afterwards
	Newest      string        `json:"newest"`     // id of the newest complete set afterwards, or empty
	Error       string        `json:"error"`
}

const sizeLimit = 1 << 20

func path(dir, app string) string { return filepath.Join(dir, "last-run", app+".json") }

// Save keeps r as the last run of its app in the state directory.
func Save(dir string, r Run) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode report of %s: %w", r.App, err)
	}
	return state.WriteFile(path(dir, r.App), append(data, '\n'), 0o600)
}

// Load returns the last run of app, or nil without an error when none was kept or it cannot be read any more: it is a
// report, and nothing is decided by it.
func Load(dir, app string) (*Run, error) {
	data, err := state.ReadFile(path(dir, app), sizeLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last run of %s: %w", app, err)
	}
	r := &Run{}
	if json.Unmarshal(data, r) != nil || r.App != app {
		return nil, nil
	}
	return r, nil
}
