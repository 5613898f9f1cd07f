package killtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// mark is a file in each volume that says of which state it is.
const mark = "mark"

// restoring is an app whose set S is restored over and over: three datasets, which are swapped, and a directory of a fourth, which
// is copied.
type restoring struct {
	*app
	set   string
	paths []string // of the volumes
}

// TestRestoreKilledAtEveryPoint kills and ends a restore in place at one point after the other. Whatever the containers see then is
// all old or all new; where the volumes are a mixture, none runs, nor is started by the engine. One more restore makes it all as
// the set has it, with the same containers running as before, and what was replaced in an undo set.
func TestRestoreKilledAtEveryPoint(t *testing.T) {
	h := newHost(t)
	r := newRestoring(t, h)
	names := r.undisturbed(t)
	var jobs []job
	for n := 1; n < len(names); n++ {
		jobs = append(jobs, job{"kill", n, names[n]}, job{"term", n, names[n]})
	}
	jobs = sampled(t, jobs)
	late := untilLate(t, jobs)
	done := map[string]int{}
	begun := time.Now()
	for i, j := range jobs {
		if t.Failed() || i > 0 && late() {
			break
		}
		r.disturb(t, j)
		done[j.mode]++
	}
	t.Logf("%d kills and %d ends at %d points, in %s", done["kill"], done["term"], len(names)-1, time.Since(begun).Round(time.Second))
}

// sampled is someOf, and what can be done in a while where nothing says how many.
func sampled(t *testing.T, jobs []job) []job {
	t.Helper()
	if os.Getenv("VOLSNAP_KILL_EVERY") == "" && os.Getenv("VOLSNAP_KILL_FOR") == "" {
		t.Setenv("VOLSNAP_KILL_FOR", "40s")
	}
	return someOf(t, jobs)
}

func newRestoring(t *testing.T, h *host) *restoring {
	t.Helper()
	a := newApp(t, h, fmt.Sprintf("back-%d", os.Getpid())) // another process may test this at the same time, and delete undo sets by the app's name
	a.Docker(t, "rm", "-f", a.of("resting"))               // which a restore would have to stop
	extra := a.volume("x")
	if err := a.storage.MakeDataset(t.Context(), extra); err != nil {
		t.Fatal(err)
	}
	r := &restoring{app: a}
	for _, v := range []string{"a", "b", "c"} {
		r.paths = append(r.paths, filepath.Join(a.volume(v), "_data"))
	}
	r.paths = append(r.paths, filepath.Join(extra, "some data"))
	for _, dir := range []string{r.paths[3], filepath.Join(extra, "others")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf("      - path: %q\n    freeze:\n", r.paths[3])
	if err := os.WriteFile(a.config, []byte(strings.Replace(string(config), "    freeze:\n", more, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Docker(t, "update", "--restart", "always", a.of("one"))
	r.write(t, "old")
	r.set = strings.TrimSpace(string(a.succeed(t, "snapshot", a.name, "--pin", "to go back to").stdout()))
	return r
}

// write marks the volumes.
func (r *restoring) write(t *testing.T, state string) {
	t.Helper()
	for _, path := range r.paths {
		if err := os.WriteFile(filepath.Join(path, mark), []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// states are the marks of the volumes. A storage may have to unmount one to replace it: that has none.
func (r *restoring) states(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, path := range r.paths {
		text, err := os.ReadFile(filepath.Join(path, mark))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		out = append(out, string(text))
	}
	return out
}

// mixed reports whether the volumes are of different states.
func mixed(states []string) bool { return len(slices.Compact(slices.Clone(states))) > 1 }

func (r *restoring) args() []string { return []string{"restore", r.set, "--in-place", "--yes"} }

// undisturbed are the points of a restore.
func (r *restoring) undisturbed(t *testing.T) []string {
	t.Helper()
	r.write(t, "new")
	names := r.must(t, r.args()...).passed(t)
	r.check(t, "new")
	for _, want := range []string{"after swap", "after copy", "after stop", "after start", "after restart policy"} {
		if !slices.Contains(names, want) {
			t.Fatalf("a restore passed %q: no %q", names, want)
		}
	}
	return names
}

// disturb lets a restore be killed or ended, and checks everything.
func (r *restoring) disturb(t *testing.T, j job) {
	t.Helper()
	state := fmt.Sprintf("new at %d", j.n)
	r.write(t, state)
	p := r.volsnap(t, at(j.mode, j.n), r.args()...)
	status := p.status(t)
	states := r.states(t)
	if mixed(states) {
		r.checkNobodyRuns(t, states)
	}
	if j.mode == "term" && (status != 130 && status != 0 || mixed(states)) {
		t.Errorf("ended: status %d, %q", status, states)
	}
	if j.mode == "kill" && status != -1 {
		t.Errorf("killed: status %d", status)
	}
	again := r.volsnap(t, "", r.args()...)
	if status := again.status(t); status != 0 {
		t.Errorf("the restore after it: status %d", status)
	}
	r.check(t, state)
	if t.Failed() {
		t.Logf("%s at point %d, %q:\n%s\nand then:\n%s", j.mode, j.n, j.name, p.stderr(), again.stderr())
	}
}

// checkNobodyRuns is for volumes of different states: no container runs that has any, and Docker starts none.
func (r *restoring) checkNobodyRuns(t *testing.T, states []string) {
	t.Helper()
	for _, part := range []string{"one", "two", "reader"} {
		if c := r.inspect(t, part); c.Running || c.RestartPolicy != "no" {
			t.Errorf("the volumes are %q, and %s is %s, restart %q", states, c.Name, c.State, c.RestartPolicy)
		}
	}
}

// check finds everything restored, running, and nothing left over; and what was there in an undo set. That it removes.
func (r *restoring) check(t *testing.T, was string) {
	t.Helper()
	for i, state := range r.states(t) {
		if state != "old" {
			t.Errorf("%s is %q", r.paths[i], state)
		}
	}
	for part, policy := range map[string]string{"one": "always", "two": "no", "reader": "no"} {
		if c := r.inspect(t, part); !c.Running || c.Paused || c.RestartPolicy != policy {
			t.Errorf("%s is %s, restart %q", c.Name, c.State, c.RestartPolicy)
		}
	}
	for name := range r.storage.things(t) {
		if strings.Contains(name, "restore-") {
			t.Errorf("left: %s", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(r.paths[3]), ".volsnap*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	if left, err := os.ReadDir(filepath.Join(r.state, "restores")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	r.checkUndo(t, was)
}

// checkUndo finds what was replaced in one of the undo sets, and deletes them by name.
func (r *restoring) checkUndo(t *testing.T, was string) {
	t.Helper()
	found := false
	for _, s := range r.list(t) {
		if !slices.ContainsFunc(s.Pins, func(pin string) bool { return strings.HasPrefix(pin, "undo of the restore of ") }) {
			continue
		}
		if !s.Complete {
			t.Errorf("the undo set %s: %v", s.ID, s.Faults)
		}
		var snapshots []string
		for _, m := range s.Members {
			snapshots = append(snapshots, m.Snapshot)
		}
		dirs, done := r.storage.open(t, snapshots)
		holds := true
		for i, m := range s.Members {
			text, err := os.ReadFile(filepath.Join(dirs[i], m.Path, mark))
			if err != nil {
				t.Error(err)
			}
			holds = holds && string(text) == was
		}
		done()
		found = found || holds
		r.must(t, "delete", string(s.ID))
	}
	if !found {
		t.Errorf("no undo set holds %q", was)
	}
}
