//go:build !vmtest

package killtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestDeadMan(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		name, app string
		test      func(*testing.T, *app)
	}{
		{"both processes killed, then volsnap thaw", "thawed", thawAfterBoth},
		{"both processes killed, then volsnap thaw killed at each point", "rethawed", thawKilled},
		{"both processes killed, then volsnap run", "rerun", runAfterBoth},
		{"the whole process group killed", "group", groupKilled},
		{"stopped before a snapshot, continued after the limit", "stopped", stoppedBeforeSnapshot},
		{"stopped before an unpause, continued after the limit", "stopped2", stoppedBeforeUnpause},
		{"a freeze command that does not end", "slow", slowCommand},
		{"two runs at once", "twice", twoRuns},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, h, tc.app)
			tc.test(t, a)
			a.settled(t)
		})
	}
}

func thawAfterBoth(t *testing.T, a *app) {
	f := a.orphan(t)
	out := string(a.must(t, "thaw").stdout())
	f.look()
	for _, name := range ours {
		if f.of(name).now {
			t.Errorf("%s is held after volsnap thaw", name)
		}
	}
	for _, part := range []string{"one", "two"} {
		if !strings.Contains(out, "thawed "+a.of(part)+"\n") {
			t.Errorf("volsnap thaw printed %q", out)
		}
	}
	if f.of("resting").free > 0 {
		t.Error("volsnap thaw let go what others had paused")
	}
	if again := a.must(t, "thaw").stdout(); len(again) > 0 {
		t.Errorf("a second volsnap thaw printed %q", again)
	}
}

// thawKilled makes what volsnap thaw finds anew for each point: the same journal, the same containers paused.
func thawKilled(t *testing.T, a *app) {
	a.orphan(t).end()
	path := filepath.Join(a.run, a.name+".frozen.json")
	journal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a.must(t, "thaw")
	points := 0
	for n := 1; ; n++ {
		if err := os.WriteFile(path, journal, 0o600); err != nil {
			t.Fatal(err)
		}
		a.Docker(t, "exec", a.of("one"), "touch", "/"+marker)
		a.Docker(t, "pause", a.of("one"), a.of("two"))
		f := a.watch(t, "one", "two", "resting")
		f.look()
		killed := a.volsnap(t, at("kill", n), "thaw").status(t) == -1
		if killed {
			a.must(t, "thaw")
			points++
		}
		f.awaitFree(t)
		f.end()
		if f.of("resting").free > 0 {
			t.Error("volsnap thaw let go what others had paused")
		}
		if !killed || t.Failed() {
			t.Logf("volsnap thaw was killed at %d points", points)
			return
		}
	}
}

func runAfterBoth(t *testing.T, a *app) {
	a.orphan(t)
	a.settle(t)
	a.checkNothingHeld(t)
}

func groupKilled(t *testing.T, a *app) {
	p, f := a.hold(t, "hang")
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	f.awaitFree(t)
	f.end()
	f.check(t)
}

func stoppedBeforeSnapshot(t *testing.T, a *app) { stopped(t, a, "before snapshot") }
func stoppedBeforeUnpause(t *testing.T, a *app)  { stopped(t, a, "before unpause") }

// stopped is a run that is stopped in the pause for longer than the limit: the dead-man thaws, and the run gives its set up
// when it goes on. (An unpause may be on its way already when the run stops before another. Then all was held for long
// enough.)
func stopped(t *testing.T, a *app, point string) {
	p, f := a.holdAt(t, "stop", point)
	sets := a.list(t)
	f.awaitFree(t)
	f.check(t)
	p.signal(t, syscall.SIGCONT)
	f.end()
	f.check(t)
	a.checkOutcome(t, p, complete(sets), point == thawing)
}

func slowCommand(t *testing.T, a *app) {
	a.settle(t)
	sets := a.list(t)
	f := a.watch(t, "one", "two", "reader", "resting")
	a.configure(t, []string{"sh", "-c", "'touch /" + marker + "; sleep 1000'"})
	p := a.volsnap(t, "", "run", a.name)
	if !p.limited(t) {
		t.Errorf("exit status %d, want 1 and the limit:\n%s", p.status(t), p.stderr())
	}
	f.awaitFree(t)
	f.end()
	f.check(t)
	if f.of("marker").times == 0 {
		t.Error("the freeze command did not run")
	}
	a.checkNoNewSet(t, sets)
	if running := a.Docker(t, "top", a.of("one")); strings.Contains(running, "sleep 1000") {
		t.Errorf("the command still runs:\n%s", running)
	}
	a.configure(t, quickFreeze)
}

// twoRuns is I11: the second ends at once and changes nothing; nor does volsnap thaw take from the first what it holds.
func twoRuns(t *testing.T, a *app) {
	p, f := a.hold(t, "stop")
	sets := a.list(t)
	for _, tc := range []struct {
		args []string
		want int
	}{
		{[]string{"run", a.name}, 4}, {[]string{"snapshot", a.name}, 4}, {[]string{"prune", a.name}, 4}, {[]string{"thaw"}, 0},
	} {
		if status := a.volsnap(t, "", tc.args...).status(t); status != tc.want {
			t.Errorf("volsnap %q beside a run: exit status %d, want %d", tc.args, status, tc.want)
		}
	}
	f.look()
	if w := f.of("two"); !w.now && w.longest < limit {
		t.Errorf("the first run's container was let go after %s", w.longest)
	}
	p.signal(t, syscall.SIGCONT)
	if status := p.status(t); status != 0 && status != 1 { // it may have passed its limit by now
		t.Errorf("the first run: exit status %d:\n%s", status, p.stderr())
	}
	f.end()
	f.check(t)
	if status := p.status(t); status == 1 {
		a.checkNoNewSet(t, complete(sets))
	}
}
