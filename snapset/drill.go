package snapset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// Drill is the verdict of one drill of the set.
type Drill struct {
	Time    time.Time `json:"time"` // when it began
	OK      bool      `json:"ok"`
	From    string    `json:"from"` // the target whose replica was drilled; empty: the set of this host
	ReadyMS float64   `json:"ready_ms"`
	Failed  []string  `json:"failed"` // the checks that did not pass
}

// keptDrills is how many a manifest holds.
const keptDrills = 5

// AddDrill adds a verdict to a set's manifest, in the place of the oldest if there are many. A manifest that is not there, or is
// removed at that moment, is not made: known is false. It needs no lock of the app, since nobody else rewrites a manifest.
func (s Store) AddDrill(id driver.SetID, d Drill) (known bool, err error) {
	const tries = 3 // a run that sweeps up after dead ones may take the new file for a dead one's
	for range tries {
		var m *Manifest
		if m, err = s.Read(id); err != nil || m == nil {
			return false, err
		}
		m.Drills = append(m.Drills, d)
		m.Drills = m.Drills[max(0, len(m.Drills)-keptDrills):]
		data, err := json.MarshalIndent(m, "", " ")
		if err != nil {
			return false, fmt.Errorf("encode manifest of %s: %w", id, err)
		}
		err = state.ReplaceFile(s.path(id), append(data, '\n'), 0o600)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, err
}
