package drill_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
		if n == first || n == last { // what lies between is the same for another file, member or container
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

// TestRunCleansUp lets the nightly run remove what a killed drill left.
func TestRunCleansUp(t *testing.T) {
	a := newApp(t, "killed-run", nil)
	a.snapshot(t)
	points := a.points(t)
	for _, name := range []string{"after stage", "after PostgreSQL was ready"} {
		a.disturb(t, slices.Index(points, name), name, "run")
	}
}
