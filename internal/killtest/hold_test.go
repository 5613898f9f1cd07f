//go:build !vmtest

package killtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/quiesce"
)

// hold brings a run to the instant before its first snapshot, where all is paused, and has it hang or stop there.
func (a *app) hold(t *testing.T, mode string) (*program, *freezer) {
	t.Helper()
	return a.holdAt(t, mode, held)
}

func (a *app) holdAt(t *testing.T, mode, point string) (*program, *freezer) {
	t.Helper()
	a.settle(t) // the first run makes directories
	a.settle(t)
	for range 3 {
		f := a.watch(t, "one", "two", "reader", "resting")
		p := a.begin(t, mode+"@"+point, "run", a.name)
		p.reach(t, "point "+point, func() bool { return slices.Contains(p.passed(t), point) && (mode != "stop" || p.stopped()) })
		if slices.Contains(p.passed(t), point) && !p.over() {
			return p, f
		}
		f.end()
		if !p.limited(t) {
			break
		}
	}
	t.Fatalf("the run did not come to the point %q", point)
	return nil, nil
}

// stopped is that it was sent SIGSTOP and all its threads obeyed (proc(5): the state after the name in parentheses).
func (p *program) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	return ok && strings.HasPrefix(rest, "T")
}

// killDeadMan leaves nobody to watch over a run.
func (a *app) killDeadMan(t *testing.T) {
	t.Helper()
	pids := a.deadMen(t)
	if len(pids) != 1 {
		t.Fatalf("dead-men: %v, want one", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, runLimit, func() error {
		if len(a.deadMen(t)) > 0 {
			return quiesce.ErrStillFrozen
		}
		return nil
	})
}

// orphan leaves containers paused and nobody who knows but the journal.
func (a *app) orphan(t *testing.T) *freezer {
	t.Helper()
	for range 5 {
		p, f := a.hold(t, "stop") // the dead-man has to be killed within the limit
		a.killDeadMan(t)
		p.signal(t, syscall.SIGKILL)
		p.wait(t)
		f.look()
		if f.of("one").now && f.of("two").now && f.of("marker").now {
			return f
		}
		t.Log("the dead-man was quicker")
		f.end()
	}
	t.Fatal("the dead-man was quicker each time")
	return nil
}

// settled is that the app is as it should be, after one more run.
func (a *app) settled(t *testing.T) {
	t.Helper()
	before := keptOf(a.list(t))
	a.settle(t)
	a.checkSettled(t, before)
}
