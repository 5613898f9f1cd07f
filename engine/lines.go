package engine

import (
	"path"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// presentOf are, by set, the datasets of which an earlier state was restored, and of which what is there now came out of that set last:
// on a storage with lines (driver.Line) the next increments for the targets build on it, although newer sets are there. sets are
// complete, oldest first.
func presentOf(sets []snapset.Set) map[driver.SetID][]driver.Dataset {
	several := map[driver.Dataset]bool{}
	for _, s := range sets {
		for _, m := range s.Snapshots {
			if m.Line() != "" {
				several[m.Dataset] = true
			}
		}
	}
	found := map[driver.SetID][]driver.Dataset{}
	for _, s := range slices.Backward(sets) {
		for _, m := range s.Snapshots {
			if several[m.Dataset] && m.Line() == "" {
				delete(several, m.Dataset)
				found[s.ID] = append(found[s.ID], m.Dataset)
			}
		}
	}
	return found
}

// histories gives datasets that hold the histories of one dataset (driver.Line), as those of replicas on ZFS may, the same one of them.
func histories(sets []snapset.Set) func(driver.Dataset) driver.Dataset {
	same := map[driver.Dataset]driver.Dataset{}
	first := func(ds driver.Dataset) driver.Dataset {
		for {
			next, more := same[ds]
			if !more {
				return ds
			}
			ds = next
		}
	}
	for _, s := range sets {
		for _, m := range s.Snapshots {
			at := first(m.Dataset)
			for _, line := range m.Lines {
				ds := m.Dataset
				if line.ID != "" {
					ds.Name = path.Join(path.Dir(m.Dataset.Name), line.ID)
				}
				if other := first(ds); other != at {
					same[other] = at
				}
			}
		}
	}
	return first
}
