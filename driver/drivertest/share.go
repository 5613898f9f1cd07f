package drivertest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// someOf are all cases, or every so many-th if VOLSNAP_TEST_SHARE says so, for machines on which each takes half a minute. Which those
// are, VOLSNAP_TEST_PART says, any number; without it they are others each time.
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
	step = min(step, len(cases))
	first := rand.IntN(step)
	if text := os.Getenv("VOLSNAP_TEST_PART"); text != "" {
		part, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("VOLSNAP_TEST_PART is %q: want a number from 0", text)
		}
		first = int(part % uint64(step))
	}
	var out []C
	for i := first; i < len(cases); i += step {
		out = append(out, cases[i])
	}
	t.Logf("%d of %d cases", len(out), len(cases))
	return out
}
