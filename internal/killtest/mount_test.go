package killtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/report"
)

// look is a set that is mounted and unmounted again.
type look struct {
	*app
	set string
	at  string // a directory that is not there
}

func newLook(t *testing.T) *look {
	t.Helper()
	a := newApp(t, newHost(t), "looked")
	l := &look{app: a, at: filepath.Join(t.TempDir(), "a look")}
	l.set = strings.TrimSpace(string(a.succeed(t, "snapshot", a.name).stdout()))
	return l
}

// TestMountKilledAtEveryPoint kills a mount at one point after the other. What it left goes by umount, or by another mount.
func TestMountKilledAtEveryPoint(t *testing.T) {
	l := newLook(t)
	points := l.mount(t).passed(t)
	l.checkShown(t)
	l.must(t, "umount", l.at)
	l.checkNothing(t)
	if !slices.Contains(points, "after mount of a snapshot") || !slices.Contains(points, "before write of a state file") {
		t.Fatalf("passed %q", points)
	}
	for _, dir := range []string{l.volume("a"), filepath.Join(l.volume("b"), "_data", "look")} {
		if p := l.volsnap(t, "", "mount", l.set, dir); p.status(t) != 2 || !strings.Contains(p.stderr(), "no set can be mounted there") {
			t.Errorf("mount at %s: exit status %d: %s", dir, p.status(t), p.stderr())
		}
	}
	l.each(t, points, func(j job) {
		for _, again := range []bool{false, true} {
			l.killed(t, j, "mount", l.set, l.at)
			if again && l.mountAgain(t) {
				l.checkShown(t)
			}
			l.umount(t)
			l.checkNothing(t)
			if t.Failed() {
				t.Fatalf("killed at point %d, %q, then mounted again: %t", j.n, j.name, again)
			}
		}
	})
	l.checkGoes(t)
}

// TestUmountKilledAtEveryPoint does so with an umount.
func TestUmountKilledAtEveryPoint(t *testing.T) {
	l := newLook(t)
	l.mount(t)
	points := l.must(t, "umount", l.at).passed(t)
	l.checkNothing(t)
	l.each(t, points, func(j job) {
		for _, again := range []bool{false, true} {
			l.mount(t)
			l.killed(t, j, "umount", l.at)
			if again && l.mountAgain(t) {
				l.checkShown(t)
			}
			l.umount(t)
			l.checkNothing(t)
			if t.Failed() {
				t.Fatalf("killed at point %d, %q, then mounted again: %t", j.n, j.name, again)
			}
		}
	})
	l.checkGoes(t)
}

// each does it with a kill at each of the points.
func (l *look) each(t *testing.T, points []string, do func(job)) {
	t.Helper()
	var jobs []job
	for n := 1; n < len(points); n++ {
		jobs = append(jobs, job{"kill", n, points[n]})
	}
	jobs = someOf(t, jobs)
	late := untilLate(t, jobs)
	done := 0
	for ; done < len(jobs) && (done == 0 || !late()); done++ {
		do(jobs[done])
	}
	t.Logf("killed at %d points of %d", done, len(points)-1)
}

func (l *look) mount(t *testing.T) *program {
	t.Helper()
	return l.must(t, "mount", l.set, l.at, "--json")
}

func (l *look) killed(t *testing.T, j job, args ...string) {
	t.Helper()
	p := l.volsnap(t, at(j.mode, j.n), args...)
	if status := p.status(t); status != -1 {
		t.Fatalf("%q was not killed at point %d, %q, but ended with %d: %s", args, j.n, j.name, status, p.stderr())
	}
}

// mountAgain reports whether there was something to do. One that was killed when all was done is as if it had not been killed.
func (l *look) mountAgain(t *testing.T) bool {
	t.Helper()
	p := l.volsnap(t, "", "mount", l.set, l.at)
	switch status := p.status(t); {
	case status == 0:
		return true
	case status != 2 || !strings.Contains(p.stderr(), "is a mount point already"):
		t.Errorf("mount again: exit status %d: %s", status, p.stderr())
	}
	return false
}

// umount is fine where there is nothing: the mount may have been killed before it began.
func (l *look) umount(t *testing.T) {
	t.Helper()
	p := l.volsnap(t, "", "umount", l.at)
	if status := p.status(t); status != 0 && !(status == 2 && strings.Contains(p.stderr(), "no set is mounted there")) {
		t.Errorf("umount: exit status %d: %s", status, p.stderr())
	}
}

// checkShown looks into each volume. What it holds in detail is compared by tests of the engine.
func (l *look) checkShown(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(l.at)
	if err != nil || len(entries) != 3 {
		t.Fatalf("shown are %v, %v", entries, err)
	}
	for _, v := range []string{"a", "b", "c"} {
		if _, err := os.ReadDir(filepath.Join(l.at, l.of(v))); err != nil {
			t.Error(err)
		}
		err := os.WriteFile(filepath.Join(l.at, l.of(v), "x"), nil, 0o600)
		if err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%s can be written to: %v", v, err)
		}
	}
	if _, err := os.Stat(filepath.Join(l.at, l.of("a"), "one-a")); err != nil {
		t.Error(err)
	}
}

// checkNothing looks for mounts, directories, records and devices that are left.
func (l *look) checkNothing(t *testing.T) {
	t.Helper()
	all, err := mountinfo.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, in := mountinfo.Below(l.at, m.Point); in || strings.Contains(m.Root+m.Source, l.set) {
			t.Errorf("%s of %s is mounted at %s", m.Root, m.Source, m.Point)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(l.at)); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	left, err := os.ReadDir(filepath.Join(l.run, "mounted"))
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("left are records: %v", left)
	}
	if g, ok := l.storage.(lvmGroup); ok {
		if awake := g.awake(t, l.set); len(awake) > 0 {
			t.Errorf("active are %q", awake)
		}
	}
}

// checkGoes shows that nothing uses the set any more.
func (l *look) checkGoes(t *testing.T) {
	t.Helper()
	l.succeed(t, "snapshot", l.name)
	var m report.Mounting
	if err := json.Unmarshal(l.mount(t).stdout(), &m); err != nil || m.Set != l.set {
		t.Fatalf("%+v, %v", m, err)
	}
	if p := l.volsnap(t, "", "delete", l.set); p.status(t) != 1 || !strings.Contains(p.stderr(), "volsnap umount "+l.at) {
		t.Errorf("delete while mounted: exit status %d: %s", p.status(t), p.stderr())
	}
	l.must(t, "umount", l.at)
	l.must(t, "delete", l.set)
	l.checkNothing(t)
}
