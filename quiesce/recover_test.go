package quiesce_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/quiesce"
)

func journal(t *testing.T, entries ...quiesce.Entry) quiesce.Journal {
	j := quiesce.JournalOf(t.TempDir(), "ccn")
	if err := j.Write(quiesce.Record{App: "ccn", Begun: epoch, Limit: limit, Entries: entries}); err != nil {
		t.Fatal(err)
	}
	return j
}

// id is a container id as Docker makes it.
func id(n int) string { return strings.Repeat(strconv.Itoa(n), 64) }

func TestRecoverThawsOnlyWhatTheJournalNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs, again, stopped, gone := id(1), id(2), id(3), id(4), id(5)
		e := newEngine(ours, theirs, again, stopped)
		for _, id := range []string{ours, theirs, again} {
			e.set(id, func(c *docker.Container) { c.Paused = true })
		}
		e.set(again, func(c *docker.Container) { c.StartedAt = epoch.Add(time.Hour) }) // started anew, then paused by others
		e.set(stopped, func(c *docker.Container) { c.Running = false })
		exec := quiesce.Entry{Kind: quiesce.KindExec, Container: ours, Name: ours, Thaw: []string{"unlock"}}
		j := journal(t, append([]quiesce.Entry{exec}, e.wave(ours, again, stopped, gone)...)...)
		thawed, err := quiesce.Recover(t.Context(), e, j)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{ours, ours}, thawed); diff != "" {
			t.Errorf("thawed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{theirs, again}, e.paused()); diff != "" {
			t.Errorf("paused afterwards (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"unpause " + ours, "exec " + ours + " unlock"}, e.calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if rec, err := j.Read(); rec != nil || err != nil {
			t.Errorf("journal afterwards: %v, %v", rec, err)
		}
	})
}

func TestRecoverKeepsTheJournalUntilAllIsThawed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := id(1)
		e := newEngine(a)
		e.set(a, func(c *docker.Container) { c.Paused = true })
		e.hook = func(context.Context, string) error { return docker.ErrUnavailable }
		j := journal(t, e.wave(a)...)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := quiesce.Recover(ctx, e, j); !errors.Is(err, quiesce.ErrStillFrozen) {
			t.Fatalf("error %v; want ErrStillFrozen", err)
		}
		if rec, err := j.Read(); rec == nil || err != nil {
			t.Fatalf("the journal is gone while a is paused: %v, %v", rec, err)
		}
		e.hook = nil
		if _, err := quiesce.Recover(t.Context(), e, j); err != nil || len(e.paused()) > 0 {
			t.Fatalf("second try: %v, paused %q", err, e.paused())
		}
	})
}

func TestDamagedJournals(t *testing.T) {
	for _, text := range []string{
		"", "{", "null", "[]", `{"version":2}`, `{"version":1,"entries":[{}]}`, `{"version":1,"entries":[{"kind":"pause"}]}`,
		`{"version":1,"entries":[{"kind":"exec","container":"a"}]}`, `{"version":1,"entries":[{"kind":"rm","container":"a"}]}`,
		`{"version":1,"entries":{"a":1}}`, "\x00\x01", strings.Repeat("[", 5<<20),
	} {
		e := newEngine("a")
		j := journal(t)
		if err := os.WriteFile(j.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := quiesce.Recover(t.Context(), e, j); !errors.Is(err, quiesce.ErrDamaged) {
			t.Errorf("%.40q: %v; want ErrDamaged", text, err)
		}
		if _, err := os.Stat(j.Path()); err != nil {
			t.Errorf("%.40q: the journal was removed: %v", text, err)
		}
		if calls := e.calls(); len(calls) > 0 {
			t.Errorf("%.40q: touched %q", text, calls)
		}
	}
}

func TestJournals(t *testing.T) {
	j := journal(t, newEngine().wave(id(1))...)
	dir := strings.TrimSuffix(j.Path(), "/ccn.frozen.json")
	apps, err := quiesce.Journals(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ccn"}, apps); diff != "" {
		t.Fatal(diff)
	}
}

// Whatever fails, hangs, or is changed by others, nothing of ours is paused afterwards, and nothing of theirs is let go.
func TestAnyFault(t *testing.T) {
	ids := []string{"a", "b", "c", "db"} // theirs is paused before, so no step names it
	rapid.Check(t, func(rt *rapid.T) {
		faults := rapid.SliceOfN(rapid.IntRange(0, 9), 40, 40).Draw(rt, "faults")
		before := rapid.SliceOfN(rapid.IntRange(0, 4), len(ids), len(ids)).Draw(rt, "before")
		slow := rapid.IntRange(0, 4000).Draw(rt, "ms in the function")
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, append([]string{"theirs"}, ids...)...)
			f.set("theirs", func(c *docker.Container) { c.Paused = true })
			for i, id := range ids {
				if before[i] == 0 {
					f.set(id, func(c *docker.Container) { c.Running = false })
				}
			}
			n := 0
			next := func() int {
				f.mu.Lock()
				defer f.mu.Unlock()
				n++
				if n > len(faults) {
					return 9
				}
				return faults[n-1]
			}
			f.hook = func(ctx context.Context, call string) error {
				switch next() {
				case 0:
					return errors.New("no")
				case 1:
					<-ctx.Done()
					return ctx.Err()
				case 2:
					time.Sleep(300 * time.Millisecond)
				case 3:
					return docker.ErrCannotFreeze
				}
				return nil
			}
			f.after = func(string) error {
				if next() == 0 {
					return errors.New("the answer was lost")
				}
				return nil
			}
			steps := []quiesce.Step{f.exec("db", "lock", "unlock"), f.pause(f.wave("a", "b", "c"), f.wave("db"))}
			begin := time.Now()
			_, err := f.Frozen(t.Context(), steps, func(ctx context.Context) error {
				time.Sleep(time.Duration(slow) * time.Millisecond)
				for _, id := range ids {
					c, err := f.Inspect(context.WithoutCancel(ctx), id)
					if ctx.Err() == nil && err == nil && c.Running && !c.Paused {
						t.Errorf("%s runs inside the freeze", id)
					}
				}
				return ctx.Err()
			})
			if errors.Is(err, quiesce.ErrStillFrozen) {
				f.checkGivenUp(t, err, time.Since(begin))
				return
			}
			if diff := cmp.Diff([]string{"theirs"}, f.paused()); diff != "" {
				t.Errorf("paused afterwards, error %v (-want +got):\n%s", err, diff)
			}
		})
	})
}

// checkGivenUp is what is promised of a Docker that hangs for longer than Frozen tries: it tried for all of that time, the error
// names each container that is still paused, and the guard is not told that all is thawed, so that the dead-man goes on.
func (f *fixture) checkGivenUp(t *testing.T, err error, took time.Duration) {
	t.Helper()
	if took < 30*time.Second {
		t.Errorf("gave up after %s: %v", took, err)
	}
	paused := f.paused()
	if !slices.Contains(paused, "theirs") {
		t.Error("theirs was let go")
	}
	for _, id := range paused {
		if id != "theirs" && !strings.Contains(err.Error(), "container "+id) {
			t.Errorf("%s is paused, and the error does not name it: %v", id, err)
		}
	}
	if slices.Contains(f.calls(), "disarm") {
		t.Errorf("the guard was disarmed: %v", err)
	}
}
