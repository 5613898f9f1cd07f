package drivertest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// someOf are all cases, or every so many-th if VOLSNAP_TEST_SHARE says so, for machines on which each takes half a minute. Which those
// are changes from run to run.
func someOf[C any](t *testing.T, cases []C) []C {
	t.Helper()
	text := os.Getenv("VOLSNAP_TEST_SHARE")
	if text == "" {
		return cases
	}
	step, err := strconv.Atoi(text)
	if err != nil || step < 1 {
		t.Fatalf("VOLSNAP_TEST_SHARE is %q: want a number from 1", text)
	}
	var out []C
	for i := rand.IntN(min(step, len(cases))); i < len(cases); i += step {
		out = append(out, cases[i])
	}
	t.Logf("%d of %d cases", len(out), len(cases))
	return out
}
