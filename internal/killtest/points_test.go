package killtest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// job is something that happens to a run at its nth point.
type job struct {
	mode string
	n    int
	name string // of that point, in an undisturbed run
}

// journalRemoved is the point after the freeze: the state file is the journal.
const journalRemoved = "after removal of a state file"

// sealing are the points of sealing: Btrfs seals by a file.
var sealing = []string{"before seal", "before rename of a record"}

// TestKilledAtEveryPoint kills a run at one point after the other. Each time nothing is held a moment later, and after one
// more run, which waits for the dead-man, all is as if the killed one had never been, or had ended.
func TestKilledAtEveryPoint(t *testing.T) {
	s, points := inLanes(t, func(_ *app, _ *testing.T, points []string) (jobs []job) {
		for n := 1; n < len(points); n++ {
			jobs = append(jobs, job{"kill", n, points[n]})
		}
		return jobs
	}, (*app).disturb)
	if t.Failed() {
		return
	}
	for _, name := range points[1:] { // goroutines pass them in an order that changes
		if s.hit[name] == 0 && every(t) == 1 && os.Getenv("VOLSNAP_KILL_FOR") == "" {
			t.Errorf("no run was killed at the point %q", name)
		}
	}
}

// TestKilledWhileCleaningUp kills the run that cleans up after a killed one, too.
func TestKilledWhileCleaningUp(t *testing.T) {
	leaving := 0
	inLanes(t, func(a *app, t *testing.T, points []string) (jobs []job) {
		leaving = leavesMost(points)
		names := a.cleanUp(t, leaving, len(points))
		for n := 1; n < len(names); n++ {
			jobs = append(jobs, job{"kill", n, names[n]})
		}
		return jobs
	}, func(a *app, t *testing.T, s *tally, j job) {
		a.volsnap(t, at("kill", leaving), "run", a.name).wait(t)
		a.disturb(t, s, j)
	})
}

// leavesMost is the point at which a killed run leaves the most: a manifest and unsealed members, and where they are not
// sealed all at once, sealed ones too.
func leavesMost(points []string) int {
	frozen := slices.Index(points, journalRemoved)
	var seals []int
	for n := frozen; n < len(points); n++ {
		if slices.Contains(sealing, points[n]) {
			seals = append(seals, n)
		}
	}
	return seals[min(1, len(seals)-1)]
}

// cleanUp finds the points of cleaning up, which come before those of a usual run.
func (a *app) cleanUp(t *testing.T, leaving, usual int) (names []string) {
	t.Helper()
	a.volsnap(t, at("kill", leaving), "run", a.name).wait(t)
	names = a.settle(t).passed(t)
	names = names[:max(1, len(names)-usual+1)]
	if !slices.Contains(names, "after destroy") {
		t.Fatalf("what a run passed that cleaned up is %q: no destroy", names)
	}
	return names
}

// lanes is the number of apps to which things happen side by side. On a slow machine it is one: side by side they only make
// each other slower.
func lanes() int {
	if testhost.Slow() > 1 {
		return 1
	}
	return 3
}

// inLanes does each of the jobs to an app with some history, and reports. The jobs are found from the points that an
// undisturbed run passes.
func inLanes(t *testing.T, find func(a *app, t *testing.T, points []string) []job, do func(*app, *testing.T, *tally, job)) (s *tally, points []string) {
	h := newHost(t)
	s = &tally{hit: map[string]int{}}
	var jobs []job
	var late func() bool
	var found sync.Once // by the lane that is the first to have an app
	t.Run("lane", func(t *testing.T) {
		for lane := range lanes() {
			t.Run(fmt.Sprint(lane+1), func(t *testing.T) {
				t.Parallel()
				a := newApp(t, h, fmt.Sprintf("app%d", lane+1))
				a.history(t)
				found.Do(func() {
					points = a.settle(t).passed(t)
					jobs = someOf(t, find(a, t, points))
					late = untilLate(t, jobs)
				})
				for i := lane; i < len(jobs) && !t.Failed() && (i == lane || !late()); i += lanes() {
					do(a, t, s, jobs[i])
				}
			})
		}
	})
	s.report(t, len(jobs))
	return s, points
}

// disturb lets it happen, and checks everything.
func (a *app) disturb(t *testing.T, s *tally, j job) {
	t.Helper()
	for !a.disturbed(t, s, j) && !t.Failed() {
		t.Logf("%s at %d: the machine is busy, once more", j.mode, j.n)
	}
}

// disturbed reports whether the run came to that point.
func (a *app) disturbed(t *testing.T, s *tally, j job) bool {
	t.Helper()
	sets := a.list(t)
	before := keptOf(sets)
	f := a.watch(t, "one", "two", "reader", "resting")
	p := a.begin(t, at(j.mode, j.n), "run", a.name)
	if j.mode == "hang" {
		p.reach(t, fmt.Sprintf("point %d", j.n), func() bool { return len(p.passed(t)) > j.n })
		f.awaitFree(t)
		p.signal(t, syscall.SIGKILL)
	}
	if p.limited(t) {
		return false
	}
	a.checkEnd(t, p, j.mode, sets)
	f.awaitFree(t)
	longest := f.after(p.ended)
	sets = a.list(t)
	checkKept(t, before, sets)
	before = keptOf(sets) // of these nothing must get lost, be one of them the killed run's
	a.settle(t)
	f.end()
	f.check(t)
	a.checkSettled(t, before)
	name := p.passed(t)[j.n]
	s.add(name, longest, f.longest())
	if t.Failed() {
		t.Logf("%s at point %d, %q:\n%s", j.mode, j.n, name, p.stderr())
	}
	return true
}

// checkEnd checks how the run ended. One that had the time to clean up has left nothing.
func (a *app) checkEnd(t *testing.T, p *program, mode string, before []snapset.Manifest) {
	t.Helper()
	want := map[string]int{"kill": -1, "hang": -1, "term": 130, "panic": 2}[mode]
	if status := p.status(t); status != want {
		t.Errorf("%s: exit status %d, want %d:\n%s", mode, status, want, p.stderr())
	}
	if mode == "term" {
		a.checkNoNewSet(t, before)
	}
}

// checkNoNewSet is for a run that gave its set up.
func (a *app) checkNoNewSet(t *testing.T, before []snapset.Manifest) {
	t.Helper()
	ids := map[string]bool{}
	for _, s := range before {
		ids[string(s.ID)] = true
	}
	for _, s := range a.list(t) {
		if !ids[string(s.ID)] {
			t.Errorf("there is a set %s, complete: %t", s.ID, s.Complete)
		}
	}
	a.checkNoLeftOvers(t, ids, a.storage.things(t))
}

// tally is what the lanes found.
type tally struct {
	mu      sync.Mutex
	hit     map[string]int // by the point's name
	jobs    int
	held    int           // of these while something was held
	longest time.Duration // from the end of the process to when nothing was held
	pause   time.Duration // the longest that anything was held
}

func (s *tally) add(name string, longest, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hit[name]++
	s.jobs++
	s.longest, s.pause = max(s.longest, longest), max(s.pause, pause)
	if longest > 0 {
		s.held++
	}
}

func (s *tally) report(t *testing.T, wanted int) {
	t.Helper()
	var hit []string
	for _, name := range slices.Sorted(maps.Keys(s.hit)) {
		hit = append(hit, fmt.Sprintf("%s (%d)", name, s.hit[name]))
	}
	t.Logf("%d of %d times, at points of %d names: %s", s.jobs, wanted, len(hit), strings.Join(hit, ", "))
	t.Logf("%d of them while containers were held, at most %s from the end of the process until none was; longest hold %s",
		s.held, s.longest.Round(time.Millisecond), s.pause.Round(time.Millisecond))
}
