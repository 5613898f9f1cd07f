package quiesce_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/quiesce"
)

const limit = 2 * time.Second

type fixture struct {
	*engine
	guard *guard
	quiesce.Freezer
}

func newFixture(t *testing.T, ids ...string) *fixture {
	e := newEngine(ids...)
	g := &guard{t: t, engine: e}
	return &fixture{engine: e, guard: g, Freezer: quiesce.Freezer{Docker: e, Guard: g, Limit: limit}}
}

func (f *fixture) pause(waves ...[]quiesce.Entry) quiesce.Step {
	return quiesce.PauseStep{Docker: f.engine, Waves: waves}
}

func (f *fixture) exec(id, freeze, thaw string) quiesce.Step {
	s := quiesce.ExecStep{Docker: f.engine, Container: docker.Container{ID: id, Name: id, StartedAt: epoch}, Argv: []string{freeze}, Timeout: time.Second}
	if thaw != "" {
		s.Thaw = []string{thaw}
	}
	return s
}

func TestOrder(t *testing.T) {
	f := newFixture(t, "w", "db")
	steps := []quiesce.Step{f.exec("db", "save", ""), f.exec("w", "lock", "unlock"), f.pause(f.wave("w"), f.wave("db"))}
	p, err := f.Frozen(t.Context(), steps, func(context.Context) error {
		f.note("snapshot")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := f.calls()
	slices.Sort(got[6:8]) // in parallel
	want := []string{"exec db save", "arm", "exec w lock", "pause w", "pause db", "snapshot", "unpause db", "unpause w", "exec w unlock", "disarm"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(p.Containers) != 3 || !p.Containers[1].Held || !p.Containers[2].Held {
		t.Errorf("pause: %+v", p)
	}
}

func TestStepsThatHoldNothingNeedNoGuard(t *testing.T) {
	f := newFixture(t, "db")
	f.Guard = nil
	p, err := f.Frozen(t.Context(), []quiesce.Step{f.exec("db", "save", "")}, func(context.Context) error { return nil })
	if err != nil || p.Took() != 0 || len(p.Containers) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
}

// I1: whatever ends the freeze, what was paused runs when Frozen returns, and what others had paused stays paused.
func TestThawsWhateverHappens(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name string
		fn   func(ctx context.Context, cancel func()) error
		hook func(ctx context.Context, call string) error
		want error
	}{
		{name: "done", fn: func(context.Context, func()) error { return nil }},
		{name: "snapshot fails", fn: func(context.Context, func()) error { return boom }, want: boom},
		{name: "cancelled", fn: func(ctx context.Context, cancel func()) error { cancel(); <-ctx.Done(); return ctx.Err() }, want: context.Canceled},
		{name: "hangs but obeys", fn: func(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }, want: quiesce.ErrLimit},
		{name: "hangs and does not obey", fn: func(context.Context, func()) error { time.Sleep(time.Minute); return nil }, want: quiesce.ErrLimit},
		{name: "a pause fails", hook: fail("pause db", boom, 1000), want: boom},
		{name: "a pause hangs", hook: hang("pause db"), want: quiesce.ErrLimit},
		{name: "an exec fails", hook: fail("exec a lock", boom, 1), want: boom},
		{name: "an exec hangs", hook: hang("exec a lock"), want: context.DeadlineExceeded},
		{name: "unpause fails ten times", hook: fail("unpause db", boom, 10)},
		{name: "the thaw command fails ten times", hook: fail("exec a unlock", boom, 10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, "a", "b", "db", "theirs")
				f.set("theirs", func(c *docker.Container) { c.Paused = true })
				f.hook = tt.hook
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				begin := time.Now()
				var mu sync.Mutex
				var thawedAfter time.Duration
				f.after = func(call string) error {
					mu.Lock()
					defer mu.Unlock()
					if strings.HasPrefix(call, "unpause") {
						thawedAfter = time.Since(begin)
					}
					return nil
				}
				steps := []quiesce.Step{f.exec("a", "lock", "unlock"), f.pause(f.wave("a", "b", "theirs"), f.wave("db"))}
				_, err := f.Frozen(ctx, steps, func(ctx context.Context) error {
					if tt.fn == nil {
						return nil
					}
					return tt.fn(ctx, cancel)
				})
				if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("error %v; want %v", err, tt.want)
				}
				if diff := cmp.Diff([]string{"theirs"}, f.paused()); diff != "" {
					t.Errorf("paused afterwards (-want +got):\n%s", diff)
				}
				if thawedAfter > limit+time.Second {
					t.Errorf("the last container was let go after %s, the limit is %s", thawedAfter, limit)
				}
				calls := f.calls()
				if !slices.Contains(calls, "exec a unlock") {
					t.Errorf("the thaw command was not run: %q", calls)
				}
				if calls[len(calls)-1] != "disarm" {
					t.Errorf("the guard was not disarmed at the end: %q", calls)
				}
			})
		})
	}
}

// fail makes the first n calls of a kind fail before they have an effect.
func fail(call string, err error, n int) func(context.Context, string) error {
	var mu sync.Mutex
	return func(_ context.Context, got string) error {
		mu.Lock()
		defer mu.Unlock()
		if got == call && n > 0 {
			n--
			return err
		}
		return nil
	}
}

// hang makes calls of a kind hang until their context ends.
func hang(call string) func(context.Context, string) error {
	return func(ctx context.Context, got string) error {
		if got == call {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
}

func TestThawsBeforeAPanicGoesOn(t *testing.T) {
	f := newFixture(t, "a")
	defer func() {
		r, _ := recover().(string)
		if !strings.Contains(r, "the reason") {
			t.Errorf("recovered %v; want the panic of the function", r)
		}
		if p := f.paused(); len(p) > 0 {
			t.Errorf("still paused: %q", p)
		}
	}()
	_, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a"))}, func(context.Context) error { panic("the reason") })
	t.Errorf("returned %v", err)
}

// A pause call that timed out may be carried out by Docker later, when its caller has given up.
func TestThawsAPauseThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "a", "b")
		f.hook = func(ctx context.Context, call string) error {
			if call != "pause b" {
				return nil
			}
			<-ctx.Done()
			time.AfterFunc(1500*time.Millisecond, func() { f.set("b", func(c *docker.Container) { c.Paused = true }) })
			return ctx.Err()
		}
		_, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a", "b"))}, func(context.Context) error { return nil })
		if !errors.Is(err, quiesce.ErrLimit) {
			t.Errorf("error %v; want ErrLimit", err)
		}
		if p := f.paused(); len(p) > 0 {
			t.Errorf("still paused: %q", p)
		}
	})
}

// Under load runc answers "unable to freeze", and the container may be frozen all the same.
func TestPauseLooksTwice(t *testing.T) {
	t.Run("tries again", func(t *testing.T) {
		f := newFixture(t, "a")
		f.hook = fail("pause a", docker.ErrCannotFreeze, 2)
		p, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a"))}, func(context.Context) error { return nil })
		if err != nil || !p.Containers[0].Held {
			t.Fatalf("%+v, %v", p, err)
		}
	})
	t.Run("is frozen all the same", func(t *testing.T) {
		f := newFixture(t, "a")
		f.after = func(call string) error {
			if call == "pause a" {
				return docker.ErrCannotFreeze
			}
			return nil
		}
		p, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a"))}, func(context.Context) error { return nil })
		if err != nil || !p.Containers[0].Held || len(f.paused()) > 0 {
			t.Fatalf("%+v, %v, paused %q", p, err, f.paused())
		}
	})
}

func TestWhatIsNotOursIsLeft(t *testing.T) {
	tests := []struct {
		name   string
		change func(*docker.Container)
	}{
		{"paused by others", func(c *docker.Container) { c.Paused = true }},
		{"stopped", func(c *docker.Container) { c.Running = false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "a", "b")
			f.set("b", tt.change)
			before := *f.containers["b"]
			p, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a", "b"))}, func(context.Context) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, *f.containers["b"]); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"b"}, f.guard.left); diff != "" {
				t.Errorf("struck from the journal (-want +got):\n%s", diff)
			}
			if len(p.Containers) != 1 {
				t.Errorf("containers: %+v; want a alone", p.Containers)
			}
		})
	}
}

func TestContainersThatChangeMeanwhile(t *testing.T) {
	t.Run("one that ends is no error", func(t *testing.T) {
		f := newFixture(t, "a", "b")
		p, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a", "b"))}, func(context.Context) error {
			f.set("a", func(c *docker.Container) { c.Running, c.Paused = false, false })
			return nil
		})
		if err != nil || !p.Containers[0].Ended {
			t.Fatalf("%+v, %v", p, err)
		}
	})
	t.Run("one that others let go spoils the pause", func(t *testing.T) {
		f := newFixture(t, "a", "b")
		_, err := f.Frozen(t.Context(), []quiesce.Step{f.pause(f.wave("a", "b"))}, func(context.Context) error {
			f.set("a", func(c *docker.Container) { c.Paused = false })
			return nil
		})
		if !errors.Is(err, quiesce.ErrNotHeld) || !strings.Contains(err.Error(), "a") {
			t.Fatalf("error %v; want ErrNotHeld", err)
		}
	})
}

func TestNothingIsFrozenWithoutAGuard(t *testing.T) {
	f := newFixture(t, "a")
	f.guard.refuse = errors.New("disk full")
	_, err := f.Frozen(t.Context(), []quiesce.Step{f.exec("a", "lock", "unlock"), f.pause(f.wave("a"))}, func(context.Context) error { return nil })
	if !errors.Is(err, f.guard.refuse) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff([]string{"arm", "disarm"}, f.calls()); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
}

// A thaw command that fails for good is an error soon, and the journal goes on naming it.
func TestAThawCommandThatFailsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "a")
		f.hook = fail("exec a unlock", errors.New("exit status 1"), 1000)
		begin := time.Now()
		_, err := f.Frozen(t.Context(), []quiesce.Step{f.exec("a", "lock", "unlock"), f.pause(f.wave("a"))}, func(context.Context) error { return nil })
		if !errors.Is(err, quiesce.ErrStillFrozen) {
			t.Errorf("error %v; want ErrStillFrozen", err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("tried for %s", took)
		}
		if slices.Contains(f.calls(), "disarm") || len(f.paused()) > 0 {
			t.Errorf("disarmed, or still paused: %q", f.calls())
		}
	})
}
