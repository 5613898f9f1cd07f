package drill_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

// points runs an undisturbed drill, and returns the points that it passed, the first at index 1.
func (a *app) points(t *testing.T) []string {
	t.Helper()
	log := filepath.Join(a.dir, "points")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	if r, _ := a.drills(t); !r.OK {
		t.Fatalf("%+v", r)
	}
	names := []string{""}
	for line := range strings.Lines(string(read(t, log))) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		names = append(names, name)
	}
	return names
}

// disturb kills a drill at its nth point, and lets the next command clean up.
func (a *app) disturb(t *testing.T, n int, name string, next ...string) {
	t.Helper()
	if _, stderr, exit := a.volsnap(t, fmt.Sprintf("kill@%d", n), "drill", a.name); exit != -1 {
		t.Errorf("at %d (%s): exit status %d: %s", n, name, exit, stderr)
	}
	if _, stderr, exit := a.volsnap(t, "", append(next, a.name)...); exit != 0 {
		t.Errorf("%q after a kill at %d (%s): exit status %d: %s", next, n, name, exit, stderr)
	}
	a.clean(t)
	a.noServers(t)
}

// noServers fails the test if a server runs on a clone.
func (a *app) noServers(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "stage-drill."+a.name+".") {
			t.Errorf("%s has a clone mounted", path)
		}
	}
}

// TestKilledAtEachPoint kills a drill at one point after the other. The next drill passes, and nothing is left of either.
func TestKilledAtEachPoint(t *testing.T) {
	a := newApp(t, "killed", nil)
	a.snapshot(t)
	points := a.points(t)
	t.Logf("%d points", len(points)-1)
	for n := 1; n < len(points) && !t.Failed(); n++ {
		first, last := slices.Index(points, points[n]), len(points)-1
		for points[last] != points[n] {
			last--
		}
		if n == first && !strings.Contains(points[n], "state file") || n == last { // what lies between is the same for another file, member or container
			a.disturb(t, n, points[n], "drill")
		}
	}
}

// TestKilledOnHost does that with a server of this host's programs, where one is at work.
func TestKilledOnHost(t *testing.T) {
	a := newApp(t, "killed-onhost", nil)
	a.snapshot(t)
	a.Docker(t, "rm", "-f", a.name+"-db")
	points := a.points(t)
	for _, name := range []string{"before start of a server", "after PostgreSQL was ready", "before PostgreSQL is stopped", "before discard of a stage"} {
		n := slices.Index(points, name)
		if n < 0 {
			t.Fatalf("no point %q: %q", name, points)
		}
		a.disturb(t, n, name, "drill")
	}
}

// forget moves the journal of a drill to an app that is not configured any more.
func (a *app) forget(t *testing.T) {
	t.Helper()
	dir := filepath.Join(a.state(), "drills")
	text := read(t, filepath.Join(dir, a.name+".json"))
	overwrite(t, filepath.Join(dir, "former.json"), bytes.Replace(text, []byte(`"app": "`+a.name+`"`), []byte(`"app": "former"`), 1))
	remove(t, filepath.Join(dir, a.name+".json"))
}

// TestRunDuringDrill lets a run and another drill begin while a drill is at work: the one is not held up, and the other refuses.
func TestRunDuringDrill(t *testing.T) {
	a := newApp(t, "busy", nil)
	a.snapshot(t)
	cmd := a.command(t, "hang@after PostgreSQL was ready", "drill", a.name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	a.reach(t, "after PostgreSQL was ready")
	if _, stderr, exit := a.volsnap(t, "", "run", a.name); exit != 0 || strings.Contains(stderr, "killed drill") {
		t.Errorf("a run meanwhile: exit status %d: %s", exit, stderr)
	}
	if _, stderr, exit := a.volsnap(t, "", "drill", a.name); exit != 4 {
		t.Errorf("another drill: exit status %d: %s", exit, stderr)
	}
	if out := a.Docker(t, "ps", "--filter", "label=io.volsnap.drill", "--format", "{{.Names}} {{.Status}}"); !strings.HasPrefix(out, "volsnap-drill-busy-") || strings.Contains(out, "Paused") {
		t.Errorf("the first one's container: %q", out)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if r, _ := a.drills(t); !r.OK {
		t.Errorf("%+v", r)
	}
	a.clean(t)
}

// reach returns when a drill has come to a point.
func (a *app) reach(t *testing.T, point string) {
	t.Helper()
	await(t, point, func() bool {
		text, err := os.ReadFile(filepath.Join(a.dir, "points"))
		return err == nil && strings.Contains(string(text), point+"\n")
	})
}

// awaitStopped returns when a process stands still.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	await(t, "a stop", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(text), ") ")
		return err == nil && strings.HasPrefix(state, "T")
	})
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*testhost.Slow())
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("%q is not reached", what)
		case <-again.C:
		}
	}
}

// TestRunCleansUp lets the nightly run remove what a killed drill left, also one of an app that is not configured any more.
func TestRunCleansUp(t *testing.T) {
	a := newApp(t, "killed-run", nil)
	a.snapshot(t)
	points := a.points(t)
	for _, name := range []string{"after stage", "after PostgreSQL was ready"} {
		a.disturb(t, slices.Index(points, name), name, "run")
	}
	if _, _, exit := a.volsnap(t, "kill@after PostgreSQL was ready", "drill", a.name); exit != -1 {
		t.Errorf("exit status %d", exit)
	}
	a.forget(t)
	if _, stderr, exit := a.volsnap(t, "", "run", a.name); exit != 0 {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
	a.clean(t)
	a.noServers(t)
}
