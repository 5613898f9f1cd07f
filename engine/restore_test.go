package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/restore"
)

// going is a node with a set of the state "old", containers that run, and one that somebody stopped.
type going struct {
	*node
	docker *containers
	set    driver.SetID
}

func newGoing(t *testing.T) *going {
	g := &going{node: newNode(t), docker: &containers{all: map[string]*docker.Container{}}}
	g.Docker = g.docker
	g.docker.add("db", "always", g.paths[0])
	g.docker.add("web", "on-failure", g.paths[1], g.paths[2])
	g.docker.all["web"].RestartTries = 3
	g.docker.add("resting", "always", g.paths[1])
	g.docker.all["resting"].Running, g.docker.all["resting"].State = false, "exited"
	g.docker.add("stranger", "always", filepath.Join(filepath.Dir(g.paths[0]), "elsewhere"))
	g.write("old")
	g.set = g.take()
	g.write("new")
	return g
}

func (g *going) write(state string) {
	for _, path := range g.paths {
		g.storage.Write(driver.Dataset{Kind: driverfake.Kind, Name: path}, "mark", state)
	}
}

// states are the marks of the volumes.
func (g *going) states() string {
	var all []string
	for _, path := range g.paths {
		all = append(all, g.storage.Read(driver.Dataset{Kind: driverfake.Kind, Name: path}, "mark"))
	}
	return strings.Join(slices.Compact(all), " and ")
}

func (g *going) restore(volumes ...string) (report.Restore, error) {
	return g.RestoreInPlace(g.t.Context(), g.app, g.set, engine.RestoreOptions{Volumes: volumes})
}

// asBefore finds each container as it was.
func (g *going) asBefore() {
	g.t.Helper()
	for name, want := range map[string]string{
		"db": "running always 0", "web": "running on-failure 3", "resting": "exited always 0", "stranger": "running always 0",
	} {
		c := g.docker.is(name)
		if got := fmt.Sprintf("%s %s %d", c.State, c.RestartPolicy, c.RestartTries); got != want {
			g.t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// held finds no container that would see the volumes, now or when the engine is started.
func (g *going) held() {
	g.t.Helper()
	for _, name := range []string{"db", "web", "resting"} {
		if c := g.docker.is(name); c.Running || c.RestartPolicy != "no" {
			g.t.Errorf("the volumes are %q, and %s is %s, restart %q", g.states(), name, c.State, c.RestartPolicy)
		}
	}
}

// nothingLeft finds no stage and no journal.
func (g *going) nothingLeft() {
	g.t.Helper()
	if left := g.storage.Stages(); len(left) > 0 {
		g.t.Errorf("left: %q", left)
	}
	if j, err := restore.Read(g.Store.Dir, "app"); j != nil || err != nil {
		g.t.Errorf("left: %+v, %v", j, err)
	}
}

func (g *going) undos() []driver.SetID {
	var ids []driver.SetID
	for _, s := range g.sets() {
		if s.Complete && slices.ContainsFunc(s.Manifest.Pins, driver.IsUndo) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestRestoreInPlaceAndBack(t *testing.T) {
	g := newGoing(t)
	r, err := g.restore()
	if err != nil || g.states() != "old" || len(r.Kept) > 0 || r.Undo == "" || len(r.Members) != 3 {
		t.Fatalf("%+v, %v, the volumes are %q", r, err, g.states())
	}
	if got := fmt.Sprint(r.Containers); got != "[db web]" {
		t.Errorf("stopped and started: %s", got)
	}
	g.asBefore()
	g.nothingLeft()
	back := driver.SetID(r.Undo)
	if _, err := g.RestoreInPlace(t.Context(), g.app, back, engine.RestoreOptions{}); err != nil || g.states() != "new" {
		t.Errorf("back: %v, %q", err, g.states())
	}
	if got := g.undos(); len(got) != 2 {
		t.Fatalf("undo sets: %q", got)
	}
	for _, id := range g.undos() {
		g.storage.Permit(id)
		if err := g.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	g.asBefore()
	g.sound()
}

// I9: one call after the other fails. The volumes are all of one state, and then the next restore does what it is asked.
func TestRestoreFaultAtEachCall(t *testing.T) {
	for _, method := range []string{"Resolve", "Snapshots", "Space", "Prepare", "Take", "Close", "Seal", "Pin", "Stage", "Identity", "Swap", "docker"} {
		calls := 0
		for n := 1; ; n++ {
			hit := false
			t.Run(fmt.Sprintf("%s %d", method, n), func(t *testing.T) {
				g := newGoing(t)
				boom := errors.New("boom")
				g.docker.hook = func(_ string, i int) error {
					if method == "docker" && i == n {
						return boom
					}
					return nil
				}
				g.storage.Fault(method, n, boom)
				_, err := g.restore()
				hit = called(g, method) >= n
				g.afterFailure(err)
				g.storage.Restart()
				g.docker.hook = nil
				if _, err := g.restore(); err != nil || g.states() != "old" {
					t.Errorf("the next: %v, the volumes are %q", err, g.states())
				}
				g.asBefore()
				g.nothingLeft()
			})
			if !hit || t.Failed() {
				break
			}
			calls++
		}
		t.Logf("%s: %d calls", method, calls)
	}
}

func called(g *going, method string) int {
	if method == "docker" {
		return len(g.docker.calls)
	}
	n := 0
	for _, c := range g.storage.Calls() {
		if c.Method == method {
			n++
		}
	}
	return n
}

// afterFailure is what the error of a restore promises.
func (g *going) afterFailure(err error) {
	g.t.Helper()
	state := g.states()
	switch {
	case err == nil:
		if state != "old" {
			g.t.Errorf("done, and the volumes are %q", state)
		}
		g.asBefore()
	case errors.Is(err, restore.ErrUnfinished):
	default:
		j, readErr := restore.Read(g.Store.Dir, "app")
		if state != "new" && j == nil || readErr != nil {
			g.t.Errorf("%v, and the volumes are %q, %v", err, state, readErr)
		}
		if j == nil {
			g.asBefore()
		}
	}
	if strings.Contains(state, " and ") {
		g.held()
	}
}

// I9: the process dies after each effect in turn.
func TestRestoreKilledAfterEachEffect(t *testing.T) {
	points := 0
	for effect := 0; ; effect++ {
		done := false
		t.Run(fmt.Sprint(effect), func(t *testing.T) {
			g := newGoing(t)
			g.docker.hook = func(string, int) error {
				if g.storage.Killed() {
					return driverfake.ErrKilled
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context()) // a dead process takes no error for an answer
			defer cancel()
			last := len(g.storage.Effects()) + effect
			g.storage.Hook(func(e driverfake.Effect) error {
				if e.N == last {
					cancel()
				}
				return nil
			})
			g.storage.KillAt(effect)
			_, err := g.RestoreInPlace(ctx, g.app, g.set, engine.RestoreOptions{})
			if done = !g.storage.Killed(); !done && err == nil && g.states() != "old" {
				t.Error("it did not notice")
			}
			g.storage.Restart()
			g.docker.hook = nil
			if strings.Contains(g.states(), " and ") {
				g.held()
			}
			if j, _ := restore.Read(g.Store.Dir, "app"); j != nil {
				g.takenMeanwhile(j)
			}
			if _, err := g.restore(); err != nil || g.states() != "old" {
				t.Errorf("the next: %v, the volumes are %q", err, g.states())
			}
			g.asBefore()
			g.nothingLeft()
			if len(g.undos()) == 0 {
				t.Error("there is no undo set")
			}
		})
		if done || t.Failed() {
			break
		}
		points++
	}
	t.Logf("killed at %d points", points)
}

// takenMeanwhile takes a set while a restore has not ended: of what it has neither stopped nor replaced, and of nothing else.
func (g *going) takenMeanwhile(j *restore.Journal) {
	_, err := g.Snapshot(g.t.Context(), g.app, engine.TakeOptions{})
	if j.Phase == restore.Preparing {
		if err != nil || g.states() != "new" {
			g.t.Errorf("a set meanwhile: %v, the volumes are %q", err, g.states())
		}
		g.asBefore()
	} else if !errors.Is(err, engine.ErrRefused) {
		g.t.Errorf("a set meanwhile, in the phase %s: %v", j.Phase, err)
	}
}

// A container that is started while volumes are being replaced would go on to see what was there before.
func TestRestoreWhileAContainerIsStarted(t *testing.T) {
	for _, effect := range []string{"seal", "swap"} {
		g := newGoing(t)
		g.startsLateAt(effect)
		_, err := g.restore()
		if !errors.Is(err, restore.ErrStarted) || !errors.Is(err, restore.ErrUndone) || !strings.Contains(err.Error(), "late") || g.states() != "new" {
			t.Errorf("at %s: %v, the volumes are %q", effect, err, g.states())
		}
		g.asBefore()
		g.nothingLeft()
	}
}

func (g *going) startsLateAt(effect string) {
	g.storage.Hook(func(e driverfake.Effect) error {
		if e.What == effect {
			g.docker.mu.Lock()
			defer g.docker.mu.Unlock()
			g.docker.add("late", "no", g.paths[2])
		}
		return nil
	})
}

// What is to come is prepared while containers run: one that is started meanwhile is stopped with the others.
func TestRestoreStopsWhatRunsOncePrepared(t *testing.T) {
	g := newGoing(t)
	g.startsLateAt("stage")
	r, err := g.restore()
	if got := fmt.Sprint(r.Containers); err != nil || got != "[db late web]" || g.states() != "old" || !g.docker.is("late").Running {
		t.Errorf("%v, stopped and started: %s, the volumes are %q", err, got, g.states())
	}
	g.asBefore()
	g.nothingLeft()
}

// What cannot be prepared costs the app nothing.
func TestRestoreThatCannotBePreparedStopsNobody(t *testing.T) {
	g := newGoing(t)
	boom := errors.New("no space left on device")
	g.storage.Fault("Stage", 2, boom)
	if _, err := g.restore(); !errors.Is(err, restore.ErrUndone) || !errors.Is(err, boom) || g.states() != "new" {
		t.Errorf("%v, the volumes are %q", err, g.states())
	}
	if len(g.docker.calls) > 0 {
		t.Errorf("Docker was asked to %q", g.docker.calls)
	}
	g.nothingLeft()
}

// What was made and cannot be removed does not keep the app from running, nor sets from being taken.
func TestUndoneRestoreThatCannotRemove(t *testing.T) {
	g := newGoing(t)
	g.docker.hook = func(call string, _ int) error {
		if call == "start web" && g.states() == "old" {
			return errors.New("no such device")
		}
		return nil
	}
	g.storage.Fault("Discard", 1, driver.ErrBusy)
	if _, err := g.restore(); !errors.Is(err, restore.ErrUnfinished) || !errors.Is(err, driver.ErrBusy) || g.states() != "new" {
		t.Errorf("%v, the volumes are %q", err, g.states())
	}
	g.asBefore()
	j, err := restore.Read(g.Store.Dir, "app")
	if err != nil || j == nil || len(g.storage.Stages()) == 0 {
		t.Fatalf("%+v, %v, stages %q", j, err, g.storage.Stages())
	}
	g.takenMeanwhile(j)
	g.docker.hook = nil
	if _, err := g.restore(); err != nil || g.states() != "old" {
		t.Errorf("the next: %v, the volumes are %q", err, g.states())
	}
	g.asBefore()
	g.nothingLeft()
}

// What cannot be started any more keeps nothing else from being as it was, nor the next restore from being begun.
func TestRestoreOfWhatDoesNotStart(t *testing.T) {
	g := newGoing(t)
	broken := errors.New("no such device")
	g.docker.hook = func(call string, _ int) error {
		if call == "start web" {
			return broken
		}
		return nil
	}
	_, err := g.restore()
	if !errors.Is(err, restore.ErrUndone) || !errors.Is(err, restore.ErrNotStarted) || !errors.Is(err, broken) || g.states() != "new" {
		t.Errorf("%v, the volumes are %q", err, g.states())
	}
	g.nothingLeft()
	if db, web := g.docker.is("db"), g.docker.is("web"); !db.Running || db.RestartPolicy != "always" || web.RestartPolicy != "on-failure" {
		t.Errorf("%+v, %+v", db, web)
	}
	if _, err := g.restore(); err != nil || g.states() != "old" {
		t.Errorf("the next: %v, the volumes are %q", err, g.states())
	}
}

// While the engine is away, nothing is given up: the next restore starts what ran.
func TestRestoreWhileTheEngineIsAway(t *testing.T) {
	g := newGoing(t)
	away := false
	g.docker.hook = func(call string, _ int) error {
		if away = away || call == "start db"; away {
			return docker.ErrUnavailable
		}
		return nil
	}
	if _, err := g.restore(); !errors.Is(err, restore.ErrUnfinished) {
		t.Errorf("%v, want ErrUnfinished", err)
	}
	g.docker.hook = nil
	if _, err := g.restore(); err != nil || g.states() != "old" {
		t.Errorf("the next: %v, the volumes are %q", err, g.states())
	}
	g.asBefore()
	g.nothingLeft()
}

// killedIn leaves a restore that was killed when its containers were being started.
func (g *going) killedIn(t *testing.T, volumes ...string) {
	t.Helper()
	g.docker.hook = func(call string, _ int) error {
		if call == "start db" || g.storage.Killed() {
			g.storage.KillAt(0)
			return driverfake.ErrKilled
		}
		return nil
	}
	if _, err := g.restore(volumes...); err == nil {
		t.Fatal("it was not killed")
	}
	g.docker.hook = nil
	g.storage.Restart()
	if j, err := restore.Read(g.Store.Dir, "app"); err != nil || j == nil || j.Phase != restore.Starting {
		t.Fatalf("%+v, %v", j, err)
	}
}

// A restore of one volume that was killed is not the restore of all that is asked for next.
func TestRestoreOfOtherVolumesThanTheKilledOne(t *testing.T) {
	g := newGoing(t)
	g.killedIn(t, g.paths[0])
	if r, err := g.restore(g.paths[0]); err != nil || len(r.Members) != 1 || g.states() != "old and new" {
		t.Errorf("the same: %+v, %v, the volumes are %q", r, err, g.states())
	}
	g = newGoing(t)
	g.killedIn(t, g.paths[0])
	if r, err := g.restore(); err != nil || len(r.Members) != 3 || g.states() != "old" {
		t.Errorf("all: %+v, %v, the volumes are %q", r, err, g.states())
	}
	g.nothingLeft()
}

// A killed restore that only had to be ended is not taken for one of what somebody has worked on since.
func TestRestoreOfWhatWasWorkedOnSince(t *testing.T) {
	g := newGoing(t)
	g.killedIn(t)
	if err := g.docker.Start(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	g.write("worked on")
	r, err := g.restore()
	if err != nil || g.states() != "old" {
		t.Errorf("%v, the volumes are %q", err, g.states())
	}
	g.asBefore()
	g.nothingLeft()
	if _, err := g.RestoreInPlace(t.Context(), g.app, driver.SetID(r.Undo), engine.RestoreOptions{}); err != nil || g.states() != "worked on" {
		t.Errorf("back: %v, the volumes are %q", err, g.states())
	}
}

// What was written to the new state after a restore was killed is kept, should that be undone.
func TestKilledRestoreUndoneLater(t *testing.T) {
	g := newGoing(t)
	g.killedIn(t)
	g.write("much later")
	before := g.undos()
	g.docker.hook = func(call string, n int) error {
		if call == "start db" && !slices.Contains(g.docker.calls[:n-1], call) {
			return errors.New("boom")
		}
		return nil
	}
	g.docker.calls = nil
	if _, err := g.restore(); !errors.Is(err, restore.ErrUndone) || g.states() != "new" {
		t.Errorf("%v, the volumes are %q", err, g.states())
	}
	g.asBefore()
	g.nothingLeft()
	for _, id := range g.undos() {
		if !slices.Contains(before, id) {
			if _, err := g.RestoreInPlace(t.Context(), g.app, id, engine.RestoreOptions{}); err != nil || g.states() != "much later" {
				t.Errorf("%v, the volumes are %q", err, g.states())
			}
			return
		}
	}
	t.Errorf("undo sets: %q, and before: %q", g.undos(), before)
}

// The undo set stays as long as a restore needs it; if it is gone all the same, what was replaced is left where it is.
func TestUndoSetOfAnUnfinishedRestore(t *testing.T) {
	g := newGoing(t)
	g.killedIn(t)
	undo := g.undos()[0]
	g.storage.Permit(undo)
	if err := g.Delete(t.Context(), undo); !errors.Is(err, restore.ErrUnfinished) {
		t.Errorf("deleted: %v", err)
	}
	path := restore.PathOf(g.Store.Dir, "app")
	journal, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(os.Remove(path), g.Delete(t.Context(), undo), os.WriteFile(path, journal, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.restore()
	if err != nil || len(r.Kept) != 3 || len(g.storage.Stages()) != 3 || g.states() != "old" {
		t.Errorf("%+v, %v, stages %q", r, err, g.storage.Stages())
	}
	if j, err := restore.Read(g.Store.Dir, "app"); j != nil || err != nil {
		t.Errorf("%+v, %v", j, err)
	}
}

// What is not as it was when the undo set was taken, or cannot be removed, is left, and said.
func TestRestoreKeepsWhatItCannotRemove(t *testing.T) {
	for _, why := range []error{driver.ErrBusy, driver.ErrChanged, errors.New("input/output error")} {
		g := newGoing(t)
		g.storage.Fault("Discard", 1, why)
		r, err := g.restore()
		if err != nil || len(r.Kept) != 1 || !strings.Contains(r.Kept[0], why.Error()) || len(g.storage.Stages()) != 1 {
			t.Errorf("%v: %+v, %v, stages %q", why, r, err, g.storage.Stages())
		}
		g.asBefore()
	}
}

// I3, I10: what is refused changes nothing and stops nobody.
func TestRestoreRefuses(t *testing.T) {
	inner := func(g *going) {
		dir := filepath.Join(g.paths[0], "inner")
		if err := os.Mkdir(dir, 0o700); err != nil {
			g.t.Fatal(err)
		}
		g.app.Volumes = append(g.app.Volumes, inventory.VolumeSpec{Path: dir})
	}
	for _, tt := range []struct {
		name    string
		volumes []int
		do      func(*going)
		want    error
		says    string
	}{
		{"files older than the database", []int{1}, nil, restore.ErrOlder, "restore that too"},
		{"files older than the database, by a rule that came later", []int{2}, func(g *going) {
			g.app.Volumes[2].NotOlderThan = []string{g.paths[0]}
		}, restore.ErrOlder, "restore that too"},
		{"older than a volume that the set does not have", nil, func(g *going) {
			inner(g)
			g.app.Volumes[2].NotOlderThan = []string{filepath.Join(g.paths[0], "inner")}
		}, restore.ErrOlder, "the set does not have that"},
		{"a volume that holds another", []int{0}, inner, engine.ErrRefused, "would be replaced with it"},
		{"no volume any more", nil, func(g *going) { g.app.Volumes = g.app.Volumes[:2] }, engine.ErrRefused, "no volume of the app any more"},
		{"not complete", nil, func(g *going) { g.storage.SetFault(g.sets()[0].Snapshots[0], "is writable") }, engine.ErrRefused, "not complete"},
		{"paused", nil, func(g *going) { g.docker.all["web"].Paused = true }, engine.ErrRefused, "unpause"},
		{"--rm", nil, func(g *going) { g.docker.all["web"].AutoRemove = true }, engine.ErrRefused, "--rm"},
		{"no room for the undo set", nil, func(g *going) {
			g.storage.SetSpace(driver.Space{FreeBytes: 1, TotalBytes: 1 << 40})
		}, engine.ErrRefused, "the present state could not be kept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGoing(t)
			if tt.do != nil {
				tt.do(g)
			}
			opt := engine.RestoreOptions{}
			for _, i := range tt.volumes {
				opt.Volumes = append(opt.Volumes, g.paths[i])
			}
			_, planErr := g.PlanRestore(t.Context(), g.app, g.set, opt)
			_, err := g.RestoreInPlace(t.Context(), g.app, g.set, opt)
			for _, err := range []error{planErr, err} {
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v; want %v, and %q", err, tt.want, tt.says)
				}
			}
			if len(g.docker.calls) > 0 || g.states() != "new" {
				t.Errorf("calls %q, the volumes are %q", g.docker.calls, g.states())
			}
			g.nothingLeft()
		})
	}
	g := newGoing(t)
	if _, err := g.restore("/no/volume"); !errors.Is(err, engine.ErrNoVolume) {
		t.Errorf("%v, want ErrNoVolume", err)
	}
}

// A damaged journal stops everything that could make it worse.
func TestRestoreWithADamagedJournal(t *testing.T) {
	g := newGoing(t)
	g.killedIn(t)
	path := restore.PathOf(g.Store.Dir, "app")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, planErr := g.PlanRestore(t.Context(), g.app, g.set, engine.RestoreOptions{})
	_, err := g.restore()
	for _, err := range []error{planErr, err} {
		if !errors.Is(err, restore.ErrDamaged) {
			t.Errorf("%v, want ErrDamaged", err)
		}
	}
	if _, err := g.Snapshot(t.Context(), g.app, engine.TakeOptions{}); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("a set: %v", err)
	}
	g.held()
}
