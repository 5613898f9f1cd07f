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

// Replication is what replicating one app to one target did. Its JSON form is documented in docs/output.md.
type Replication struct {
	App         string    `json:"app"`
	Target      string    `json:"target"`
	OK          bool      `json:"ok"`
	Started     time.Time `json:"started"`
	Newest      string    `json:"newest"`      // id of the newest set of this host that the target has now; empty if none is known
	Connections int       `json:"connections"` // that were opened for it
	RoundTrips  int       `json:"round_trips"` // requests on them
	Sets        []Sent    `json:"sets"`        // that were brought there, oldest first; empty when there was nothing to send
	Error       string    `json:"error"`

	Listed bool `json:"-"` // the target said what it has, so that no Newest means none
}

// Sent is one set that was brought to a target.
type Sent struct {
	ID          string  `json:"id"`
	Bytes       int64   `json:"bytes"` // of its streams, as the storage made them
	Incremental bool    `json:"incremental"`
	Resumed     bool    `json:"resumed"`
	TookMS      float64 `json:"took_ms"`
}

func replicationPath(dir, app, target string) string {
	return filepath.Join(dir, "last-replication", app, target+".json")
}

// SaveReplication keeps r as the last replication of its app to its target. One that could not find out what the target has
// keeps what was known of that.
func SaveReplication(dir string, r Replication) error {
	if r.Newest == "" && !r.Listed {
		if last, err := LoadReplication(dir, r.App, r.Target); err == nil && last != nil {
			r.Newest = last.Newest
		}
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode report of %s to %s: %w", r.App, r.Target, err)
	}
	return state.WriteFile(replicationPath(dir, r.App, r.Target), append(data, '\n'), 0o600)
}

// LoadReplication returns the last replication of an app to a target, as Load does the last run.
func LoadReplication(dir, app, target string) (*Replication, error) {
	data, err := state.ReadFile(replicationPath(dir, app, target), sizeLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last replication of %s to %s: %w", app, target, err)
	}
	r := &Replication{}
	if json.Unmarshal(data, r) != nil || r.App != app || r.Target != target {
		return nil, nil
	}
	return r, nil
}
