package quiesce_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/quiesce"
)

// engine is a Docker engine in memory: containers that can be paused, a log of the calls that had an effect, and hooks that
// fail, hang or delay a call. The real one is used in internal/killtest; here it is the order and the clock that matter.
type engine struct {
	mu         sync.Mutex
	containers map[string]*docker.Container
	log        []string
	hook       func(ctx context.Context, call string) error // before the effect; an error takes its place
	after      func(call string) error                      // after the effect: an error is the answer all the same
}

func newEngine(ids ...string) *engine {
	e := &engine{containers: map[string]*docker.Container{}}
	for _, id := range ids {
		e.containers[id] = &docker.Container{ID: id, Name: id, Running: true, State: "running", StartedAt: epoch}
	}
	return e
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (e *engine) do(ctx context.Context, call string, effect func() error) error {
	if e.hook != nil {
		if err := e.hook(ctx, call); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	err := effect()
	if err == nil {
		e.log = append(e.log, call)
	}
	e.mu.Unlock()
	if err == nil && e.after != nil {
		err = e.after(call)
	}
	return err
}

func (e *engine) Inspect(ctx context.Context, id string) (docker.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.containers[id]
	if !ok {
		return docker.Container{}, docker.ErrNotFound
	}
	return *c, ctx.Err()
}

func (e *engine) running(id string) (*docker.Container, error) {
	c, ok := e.containers[id]
	switch {
	case !ok:
		return nil, docker.ErrNotFound
	case !c.Running:
		return nil, docker.ErrNotRunning
	}
	return c, nil
}

func (e *engine) Pause(ctx context.Context, id string) error {
	return e.do(ctx, "pause "+id, func() error {
		c, err := e.running(id)
		if err != nil {
			return err
		}
		if c.Paused {
			return docker.ErrAlreadyPaused
		}
		c.Paused = true
		return nil
	})
}

func (e *engine) Unpause(ctx context.Context, id string) error {
	return e.do(ctx, "unpause "+id, func() error {
		c, err := e.running(id)
		if err != nil {
			return err
		}
		if !c.Paused {
			return docker.ErrNotPaused
		}
		c.Paused = false
		return nil
	})
}

func (e *engine) Exec(ctx context.Context, id string, argv []string, _ docker.ExecOptions) (docker.ExecResult, error) {
	err := e.do(ctx, fmt.Sprintf("exec %s %s", id, argv[0]), func() error {
		c, err := e.running(id)
		if err == nil && c.Paused {
			err = docker.ErrPaused
		}
		return err
	})
	return docker.ExecResult{}, err
}

func (e *engine) set(id string, change func(*docker.Container)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e.containers[id])
}

func (e *engine) paused() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for id, c := range e.containers {
		if c.Paused {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (e *engine) calls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log)
}

func (e *engine) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, what)
}

// guard notes what it is told, and holds the promise of Guard: nothing is frozen before Arm.
type guard struct {
	t      testing.TB
	engine *engine
	mu     sync.Mutex
	theirs []string // paused by others
	left   []string
	refuse error
}

func (g *guard) Arm(_ []quiesce.Entry, limit time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, call := range g.engine.calls() {
		if strings.HasPrefix(call, "pause") {
			g.t.Errorf("%s came before the guard was armed", call)
		}
	}
	g.theirs = g.engine.paused()
	if limit <= 0 {
		g.t.Errorf("armed with limit %s", limit)
	}
	g.engine.note("arm")
	return g.refuse
}

func (g *guard) Leave(e quiesce.Entry) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = append(g.left, e.Container)
	return nil
}

func (g *guard) Disarm() error {
	g.engine.note("disarm")
	for _, id := range g.engine.paused() {
		if !slices.Contains(g.theirs, id) {
			g.t.Errorf("disarmed while %s is paused", id)
		}
	}
	return nil
}

func (e *engine) wave(ids ...string) []quiesce.Entry {
	var w []quiesce.Entry
	for _, id := range ids {
		w = append(w, quiesce.PauseEntry(docker.Container{ID: id, Name: id, StartedAt: epoch}))
	}
	return w
}
