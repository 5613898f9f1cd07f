package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/retention"
)

// Good is the level of a check that found nothing wrong.
const Good driver.Level = "ok"

func (h *Health) problem(level driver.Level, about, what, mend string) {
	h.Problems = append(h.Problems, Problem{Finding: driver.Finding{Level: level, What: what, Mend: mend}, About: about})
}

// judge turns what was counted into problems.
func (h *Health) judge(maxAge time.Duration) {
	switch {
	case h.Newest == nil:
		h.problem(driver.Error, h.App, "has no complete set", "take one: `volsnap run "+h.App+"`")
	case h.Age < -clockSlack:
		h.problem(driver.Warning, h.App, fmt.Sprintf("its newest set is of %s, and the clock is behind that", h.Newest.Created.Format(time.RFC3339)),
			"set the clock; nothing is pruned until it is past that time. If the clock is right now and was ahead then: `volsnap delete "+string(h.Newest.ID)+"`")
	case h.Age > 2*maxAge:
		h.problem(driver.Error, h.App, "its newest set is "+h.Age.Round(time.Minute).String()+" old", "see why the nightly run failed: `journalctl -u volsnap@"+h.App+"`")
	case h.Age > maxAge:
		h.problem(driver.Warning, h.App, "its newest set is "+h.Age.Round(time.Minute).String()+" old", "see whether the timer runs: `systemctl list-timers`")
	}
	for _, s := range h.Unrecorded {
		h.problem(driver.Warning, string(s), "its manifest is missing, though older sets have theirs: no rule counts it, and prune leaves it",
			"if nobody can have made it up, keep it as long as you want; `volsnap delete "+string(s)+"` removes it")
	}
	for _, id := range slices.Sorted(maps.Keys(h.Last)) {
		for _, m := range h.Last[id] {
			h.problem(driver.Warning, string(id), fmt.Sprintf("is kept as the last with %s on %s, where it does not lie any more", m.Volume, datasetOf(m)),
				"see that the right file system is mounted there; if it was moved on purpose and this set is not needed, `volsnap delete "+string(id)+"`")
		}
	}
	for _, s := range h.Faulty {
		mend := "see `volsnap show " + string(s.ID) + "`; `volsnap delete " + string(s.ID) + "` removes its good members; what is damaged is yours to look at and remove"
		switch {
		case s.LeftOver:
			mend = "the next run removes it"
		case s.Lacks():
			mend = "bring back what it lies on: import the pool, mount the file system, see `volsnap show " + string(s.ID) + "`. It counts again then. " +
				"Only when that is gone for good, `volsnap delete " + string(s.ID) + "` removes the members that are left"
		}
		h.problem(driver.Warning, string(s.ID), "is not complete: "+strings.Join(s.Manifest.Faults, "; "), mend)
	}
}

// judgeFreeze looks for a journal that no live run answers for.
func (e *Engine) judgeFreeze(ctx context.Context, h *Health) error {
	h.Problems = append(h.Problems, e.unfinishedRestore(h.App)...)
	rec, err := quiesce.JournalOf(e.RunDir, h.App).Read()
	if err == nil && rec == nil {
		return nil
	}
	lock, lockErr := state.LockApp(ctx, e.RunDir, h.App)
	if errors.Is(lockErr, state.ErrLocked) {
		return nil // its run is alive
	}
	if lockErr != nil {
		return lockErr
	}
	h.Frozen = true
	what, mend := "a dead run may have left containers paused", "`volsnap thaw`"
	if err != nil {
		what, mend = err.Error(), "unpause what volsnap had paused (`docker ps --filter status=paused`), then remove the journal"
	}
	h.problem(driver.Error, h.App, what, mend)
	return lock.Release()
}

// Check finds everything that could make a run of app fail, or make it useless. It changes nothing.
func (e *Engine) Check(ctx context.Context, app App) ([]Problem, error) {
	if app.Origin != nil {
		return e.checkFetched(ctx, app), nil
	}
	var found []Problem
	plan, err := e.Plan(ctx, app)
	if err != nil {
		found = append(found, problem(driver.Error, app.Name, err.Error(), mendOf(err)))
	} else {
		found = append(found, plan.Problems...)
		found = append(found, e.checkSteps(ctx, app)...)
	}
	h, err := e.Health(ctx, app.Name, 365*24*time.Hour)
	switch {
	case ctx.Err() != nil:
		return found, err
	case err != nil:
		return append(found, problem(driver.Error, app.Name, "its sets cannot be listed, and nothing is pruned meanwhile: "+err.Error(), "mend the storage that this names, or take it from the host")), nil
	}
	for _, p := range h.Problems {
		if h.Newest != nil || p.About != app.Name || h.Frozen {
			found = append(found, p)
		}
	}
	found = append(found, e.checkTargets(ctx, app)...)
	found = append(found, checkKeep(app)...)
	if len(found) == 0 {
		found = append(found, problem(Good, app.Name, fmt.Sprintf("%d volumes in %d datasets, sets will be %s", len(plan.Members), len(plan.items), plan.Consistency), ""))
	}
	return found, nil
}

func checkKeep(app App) []Problem {
	if app.Keep != (retention.Policy{}) {
		return nil
	}
	return []Problem{problem(driver.Warning, app.Name, "`keep` has no rule: every set is kept, and the pool fills up in time", "add rules, for example keep: {daily: 7, weekly: 4}")}
}

func problem(level driver.Level, about, what, mend string) Problem {
	return Problem{Finding: driver.Finding{Level: level, What: what, Mend: mend}, About: about}
}

func mendOf(err error) string {
	switch {
	case errors.Is(err, docker.ErrUnavailable):
		return "start the Docker engine, or set DOCKER_HOST"
	case errors.Is(err, inventory.ErrNotFound):
		return "correct the name in the configuration, or create what it names"
	default:
		return "see `volsnap plan`"
	}
}

// checkSteps tries what the steps will need, without freezing anything.
func (e *Engine) checkSteps(ctx context.Context, app App) []Problem {
	var found []Problem
	for _, s := range app.Freeze.Steps {
		if s.Postgres == nil {
			continue
		}
		c, err := inventory.Find(ctx, e.Docker, app.Project, s.Postgres.Container)
		if err != nil || !c.Running || c.Paused {
			continue // the plan has said so
		}
		pg := quiesce.Postgres{Docker: e.Docker, Container: c, User: s.Postgres.User, Database: s.Postgres.Database, Timeout: s.Postgres.Timeout}
		if err := pg.MayCheckpoint(ctx); err != nil {
			found = append(found, problem(driver.Error, c.Name, err.Error(), "let the step name a user who may: a superuser, or a member of pg_checkpoint (PostgreSQL 15 and later)"))
		}
	}
	return found
}

// CheckHost finds what is wrong with this host for every app.
func (e *Engine) CheckHost() []Problem {
	var found []Problem
	if os.Geteuid() != 0 {
		found = append(found, problem(driver.Error, "host", "volsnap does not run as root, and snapshots need it", "run it as root"))
	}
	for _, dir := range []string{e.Store.Dir, e.RunDir} {
		if err := writable(dir); err != nil {
			found = append(found, problem(driver.Error, dir, "cannot be written: "+err.Error(), "make it writable for root, or configure another directory"))
		}
	}
	return found
}

// writable tells whether a file could be made in dir, or dir itself in the nearest directory above that exists.
func writable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && dir != "/" {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return access(dir)
	}
}
