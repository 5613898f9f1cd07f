package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// A volume whose file system is not mounted looks like a directory of what lies below, often an empty one. Sets of that are as
// complete as any, and would in time push out those that hold the data. So a volume that lies on another dataset than
// before is told of, an empty one is refused, and the last set of where it lay before stays until it is deleted by name.

// lastOf are, by set, the volumes that lay on another dataset in it than they do in the newest one, where no newer set has them
// there. sets are complete, oldest first.
func lastOf(sets []snapset.Set) map[driver.SetID][]snapset.Member {
	found := map[driver.SetID][]snapset.Member{}
	if len(sets) == 0 {
		return found
	}
	now := map[string]driver.Dataset{}
	one := histories(sets)
	for _, m := range sets[len(sets)-1].Manifest.Members {
		now[m.Volume] = one(datasetOf(m))
	}
	type place struct {
		volume  string
		dataset driver.Dataset
	}
	seen := map[place]bool{}
	for _, s := range slices.Backward(sets) {
		for _, m := range s.Manifest.Members {
			at, known := now[m.Volume]
			here := place{m.Volume, one(datasetOf(m))}
			if known && at != here.dataset && !seen[here] {
				seen[here] = true
				found[s.ID] = append(found[s.ID], m)
			}
		}
	}
	return found
}

func datasetOf(m snapset.Member) driver.Dataset {
	return driver.Dataset{Kind: m.Driver, Name: m.Dataset}
}

// planMoved compares where the volumes lie with where they lay in the newest set that this host recorded.
func (e *Engine) planMoved(p *Plan) error {
	last, err := e.Store.Newest(p.App.Name)
	if err != nil || last == nil {
		return err
	}
	for _, m := range p.Members {
		i := slices.IndexFunc(last.Members, func(r snapset.Member) bool { return r.Volume == m.Volume })
		if i < 0 || m.Place.Dataset == (driver.Dataset{}) || datasetOf(last.Members[i]) == m.Place.Dataset {
			continue
		}
		was := datasetOf(last.Members[i])
		bare, err := isEmpty(m.HostPath)
		switch {
		case err != nil:
			return err
		case bare:
			p.problem(driver.Error, m.Volume, fmt.Sprintf("is an empty directory of %s, and was on %s in the newest set", m.Place.Dataset, was),
				"mount what belongs there; if it was emptied on purpose, put a file into it")
		default:
			p.problem(driver.Warning, m.Volume, fmt.Sprintf("lies on %s, and was on %s in the newest set", m.Place.Dataset, was),
				"if it was not moved on purpose: stop the app, and mount what belongs there")
		}
	}
	return nil
}

func isEmpty(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // read only
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return false, err
	}
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
