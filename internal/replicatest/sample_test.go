package replicatest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// plainFor is how long cases are begun in a plain run, of each test.
const plainFor = 15 * time.Second

// seed is what everything that is left to chance comes of. It is logged by each test.
var seed = sync.OnceValues(func() (uint64, error) {
	text := os.Getenv("VOLSNAP_KILL_SEED")
	if text == "" {
		return rand.Uint64(), nil
	}
	return strconv.ParseUint(text, 10, 64)
})

// chance is a source of chance of one pair's own, so that a run can be repeated.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	n, err := seed()
	if err != nil {
		t.Fatalf("VOLSNAP_KILL_SEED: %v", err)
	}
	t.Logf("VOLSNAP_KILL_SEED=%d", n)
	var of uint64
	for _, c := range t.Name() {
		of = of*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(n, of))
}

// all reports whether every case is to be tried.
func all(t *testing.T) bool { return os.Getenv("VOLSNAP_KILL_EVERY") != "" && every(t) == 1 }

// every is what VOLSNAP_KILL_EVERY says.
func every(t *testing.T) int {
	t.Helper()
	text := os.Getenv("VOLSNAP_KILL_EVERY")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("VOLSNAP_KILL_EVERY is %q: want a number from 1", text)
	}
	return n
}

// someOf takes every so many-th of the cases of each kind, and tells how long they may be begun: in a plain run all, in an
// order of chance, until time is up.
func someOf(t *testing.T, r *rand.Rand, cases []disturbance) (some []disturbance, late func() bool) {
	t.Helper()
	next := map[string]int{}
	for _, c := range cases {
		if _, known := next[c.kind]; !known {
			next[c.kind] = r.IntN(every(t))
		}
		if next[c.kind]--; next[c.kind] < 0 {
			some = append(some, c)
			next[c.kind] = every(t) - 1
		}
	}
	r.Shuffle(len(some), func(i, k int) { some[i], some[k] = some[k], some[i] })
	budget := budget(t)
	end := time.Now().Add(budget)
	return some, func() bool { return budget > 0 && time.Now().After(end) }
}

// budget is what VOLSNAP_KILL_FOR says; 0: as long as it takes.
func budget(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("VOLSNAP_KILL_FOR")
	switch {
	case text != "":
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("VOLSNAP_KILL_FOR: %v", err)
		}
		return d
	case os.Getenv("VOLSNAP_KILL_EVERY") != "":
		return 0
	}
	return plainFor
}
