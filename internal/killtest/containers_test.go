//go:build !vmtest

package killtest

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// Points of a run at which something happens to a container.
const (
	planned  = "before rename of a record"    // the plan is made, and the writers are looked up again after this
	lookedUp = "before write of a state file" // the writers are looked up, the journal is about to be written
	armed    = "before exec"                  // the journal is written, nothing is held
	held     = "before snapshot"              // all is held
	thawing  = "before unpause"               // the snapshots are made
)

func TestContainersThatChange(t *testing.T) {
	for _, tc := range []struct {
		name, app string
		at        string
		change    func(*testing.T, *app)
		after     func(*testing.T, *app)
		may, want bool // there may be a set, and has to be
	}{
		{"one exits during the pause", "exits", held, kill, startAgain, true, true},
		{"one is told to end during the pause", "stopped", held, stop, startAgain, false, false},
		{"one is removed during the pause", "removed", held, remove, runAgain, true, true},
		{"one is restarted during the pause", "restarted", held, restart, nothing, false, false},
		{"one is let go and paused again by others during the pause", "flipped", held, flip, unpause, false, false},
		{"one is let go by others during the pause", "letgo", held, unpause, nothing, false, false},
		{"one is let go by others, and ends, during the pause", "ended", held, end, startAgain, false, false},
		{"one is let go by others after the snapshots", "letgo2", thawing, unpause, nothing, true, false},
		{"one is replaced between plan and freeze", "replaced", planned, replace, nothing, true, true},
		{"one is replaced after it was looked up", "replaced2", lookedUp, replace, nothing, false, false},
		{"one is started between plan and freeze", "added", planned, addWriter, removeWriter, true, true},
		{"one is started after the writers were looked up", "added2", held, addWriter, removeWriter, false, false},
		{"one is paused by others before ours", "theirs", armed, pause, stillPaused, false, false},
		{"one that others had paused is let go during the pause", "woken", held, wake, restAgain, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newHost(t), tc.app) // a host each: what Docker tells of one app unsettles the others
			p, f := a.holdAt(t, "stop", tc.at)
			before := complete(a.list(t))
			tc.change(t, a)
			p.signal(t, syscall.SIGCONT)
			p.wait(t)
			f.end()
			tc.after(t, a)
			a.checkOutcome(t, p, before, tc.may || tc.want)
			if tc.want && p.status(t) != 0 && !p.limited(t) {
				t.Error("there is no set")
			}
			a.settled(t)
		})
	}
}

// checkOutcome is that a set was taken and is frozen, or that none was and nothing is left of it. may says whether there
// may be one.
func (a *app) checkOutcome(t *testing.T, p *program, before []snapset.Manifest, may bool) {
	t.Helper()
	t.Logf("exit status %d:\n%s", p.status(t), p.stderr())
	switch status := p.status(t); {
	case status == 0 && may:
		sets := a.list(t)
		a.checkOrder(t, sets[len(sets)-1])
	case status != 1:
		t.Errorf("exit status %d", status)
	default:
		a.checkNoNewSet(t, before)
	}
}

func kill(t *testing.T, a *app)    { a.Docker(t, "kill", a.of("two")) }
func stop(t *testing.T, a *app)    { a.Docker(t, "stop", a.of("two")) }
func remove(t *testing.T, a *app)  { a.Docker(t, "rm", "-f", a.of("two")) }
func restart(t *testing.T, a *app) { a.Docker(t, "restart", "-t", "0", a.of("two")) }

// unpause lets one go. On a busy machine the dead-man may have been quicker; then the run has passed its limit.
func unpause(t *testing.T, a *app) {
	t.Helper()
	if _, err := a.CLI("unpause", a.of("two")); err != nil && !strings.Contains(err.Error(), "is not paused") {
		t.Fatal(err)
	}
}

// pause tries again when runc is "unable to freeze", as happens under load.
func pause(t *testing.T, a *app) {
	t.Helper()
	eventually(t, 10*time.Second*testhost.Slow(), func() error {
		_, err := a.CLI("pause", a.of("two"))
		return err
	})
}

func nothing(*testing.T, *app) {}

func flip(t *testing.T, a *app) {
	unpause(t, a)
	pause(t, a)
}

// end is of a container that may have written before it ended.
func end(t *testing.T, a *app) {
	unpause(t, a)
	kill(t, a)
}

func startAgain(t *testing.T, a *app) {
	t.Helper()
	a.Docker(t, "wait", a.of("two"))
	a.Docker(t, "start", a.of("two"))
}

func runAgain(t *testing.T, a *app) { a.start(t, "two", "b", "c") }

func replace(t *testing.T, a *app) {
	remove(t, a)
	runAgain(t, a)
}

func addWriter(t *testing.T, a *app)    { a.start(t, "three", "a", "c") }
func removeWriter(t *testing.T, a *app) { a.Docker(t, "rm", "-f", a.of("three")) }

func wake(t *testing.T, a *app)      { a.Docker(t, "unpause", a.of("resting")) }
func restAgain(t *testing.T, a *app) { a.Docker(t, "pause", a.of("resting")) }

// stillPaused is that nobody let go what others had paused first.
func stillPaused(t *testing.T, a *app) {
	if !a.inspect(t, "two").Paused {
		t.Error("I1: what others had paused was let go")
		return
	}
	unpause(t, a)
}
