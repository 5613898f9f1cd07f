//go:build !vmtest

package killtest

import (
	"slices"
	"testing"
)

// journalWritten is the point before the freeze: the state file is the journal.
const journalWritten = "before write of a state file"

// TestEndedOrHungInTheFreeze asks a run to end, lets it panic, or makes it hang, at the points of the freeze.
func TestEndedOrHungInTheFreeze(t *testing.T) {
	inLanes(t, func(_ *app, _ *testing.T, points []string) (jobs []job) {
		hung := map[string]bool{}
		for n := slices.Index(points, journalWritten); n <= slices.Index(points, journalRemoved); n++ {
			jobs = append(jobs, job{"term", n, points[n]}, job{"panic", n, points[n]})
			if !hung[points[n]] {
				jobs = append(jobs, job{"hang", n, points[n]})
			}
			hung[points[n]] = true
		}
		return jobs
	}, (*app).disturb)
}
