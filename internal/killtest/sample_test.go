package killtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// every is what VOLSNAP_KILL_EVERY says: on machines on which all points would take too long, every so many-th point of each
// kind is enough. Which, changes from run to run.
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

// someOf takes every so many-th of the jobs of each kind, and at least one of each. A kind is what happens, and the name of
// the point.
func someOf(t *testing.T, jobs []job) []job {
	t.Helper()
	step := every(t)
	if step == 1 {
		return jobs
	}
	type kind struct{ mode, name string }
	count, next := map[kind]int{}, map[kind]int{}
	for _, j := range jobs {
		count[kind{j.mode, j.name}]++
	}
	for k, n := range count {
		next[k] = rand.IntN(min(step, n))
	}
	var taken []job
	for _, j := range jobs {
		k := kind{j.mode, j.name}
		if next[k] == 0 {
			taken = append(taken, j)
			next[k] = step
		}
		next[k]--
	}
	t.Logf("%d of %d jobs: %v", len(taken), len(jobs), taken)
	return taken
}

// untilLate is how long jobs are begun, as VOLSNAP_KILL_FOR says ("5m"), and the jobs in an order that changes from run to run,
// so that it is not always the same ones that are left out. Where it says nothing, all are done, in their order.
func untilLate(t *testing.T, jobs []job) (late func() bool) {
	t.Helper()
	text := os.Getenv("VOLSNAP_KILL_FOR")
	if text == "" {
		return func() bool { return false }
	}
	budget, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("VOLSNAP_KILL_FOR: %v", err)
	}
	rand.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	end := time.Now().Add(budget)
	return func() bool { return time.Now().After(end) }
}

func TestSomeOf(t *testing.T) {
	var jobs []job
	for n := range 20 {
		jobs = append(jobs, job{"kill", n, "frequent"})
	}
	jobs = append(jobs, job{"kill", 20, "rare"}, job{"term", 21, "rare"})
	for every, want := range map[string]int{"": 22, "1": 22, "4": 5 + 2, "100": 1 + 2} {
		t.Setenv("VOLSNAP_KILL_EVERY", every)
		taken := someOf(t, jobs)
		if len(taken) != want {
			t.Errorf("VOLSNAP_KILL_EVERY=%q: %d jobs, want %d: %v", every, len(taken), want, taken)
		}
	}
}
