package driverfake

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrKilled is what every call returns from KillAt's effect on until Restart.
var ErrKilled = errors.New("the process was killed")

// Call is one call of a method, in the order in which the calls began.
type Call struct {
	Method string   // "Prepare", "Take", "Close", "Seal", ...; Take and Close are the group's, "Unmount" is Mount's function
	Args   []string // names of datasets or snapshots; for Prepare the set comes first, for Pin and Unpin the reason last
}

// Effect is one change of the storage: "intent", "snapshot", "seal", "unseal", "destroy", "pin", "unpin", "forget" (an
// intent is removed), "mount", "unmount", "clone", "stage", "swap", "settle", "discard", or of a Place "receive" and "keep" (of a broken transfer). A method has one for
// each snapshot that it changes.
type Effect struct {
	N    int // counted from 1, since New or Restart
	What string
	Name string // of the snapshot; for "clone" of the new dataset, for those after it of the stage
}

// script is what will happen, and what has happened.
type script struct {
	calls   []Call
	effects []Effect
	faults  []*fault
	hook    func(Effect) error
	killAt  int
	killed  bool
	n       int // of the process, counted up by Restart
}

// fault waits for a call: it fails it with err, or holds it up until release is closed.
type fault struct {
	method  string
	left    int
	err     error
	reached chan struct{}
	release chan struct{}
}

// Fault makes the nth call of method from now on (1 is the next) fail with err before it has any effect.
func (d *core) Fault(method string, n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script.faults = append(d.script.faults, &fault{method: method, left: n, err: err})
}

// Block holds up the nth call of method from now on, before it has any effect, until release is called or its context
// ends. Reached is closed when the call has come.
func (d *core) Block(method string, n int) (reached <-chan struct{}, release func()) {
	f := &fault{method: method, left: n, reached: make(chan struct{}), release: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script.faults = append(d.script.faults, f)
	return f.reached, func() { close(f.release) }
}

// Hook is called before every effect; an error from it is the method's, and the effect does not happen. It must not call
// the driver. A nil hook removes it.
func (d *core) Hook(hook func(Effect) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script.hook = hook
}

// KillAt ends the process right after the nth effect from now on (0: before the first): that call and every later one
// return ErrKilled and do nothing more, until Restart.
func (d *core) KillAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script.killAt = len(d.script.effects) + n + 1
}

// Killed reports whether the effect of KillAt has come.
func (d *core) Killed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.script.killed
}

// Restart is a new process on the same storage: faults, hook, calls and effects are forgotten, open groups are gone.
func (d *core) Restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script = script{n: d.script.n + 1}
	d.violations.openGroups = 0
	for _, s := range d.snaps {
		s.streams = 0
	}
}

// Calls are the calls so far, those that failed too.
func (d *core) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.script.calls)
}

// Effects are the changes so far.
func (d *core) Effects() []Effect {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.script.effects)
}

// enter notes a call and lets the script have its way with it.
func (d *core) enter(ctx context.Context, method string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	f, err := d.note(method, args)
	if err != nil || f == nil {
		return err
	}
	if f.err != nil {
		return fmt.Errorf("%s: %w", method, f.err)
	}
	close(f.reached)
	select {
	case <-f.release:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

func (d *core) note(method string, args []string) (*fault, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script.calls = append(d.script.calls, Call{Method: method, Args: args})
	if d.script.dead() {
		return nil, fmt.Errorf("%s: %w", method, ErrKilled)
	}
	var hit *fault
	for _, f := range d.script.faults {
		if f.method != method {
			continue
		}
		if f.left--; f.left == 0 && hit == nil {
			hit = f
		}
	}
	return hit, nil
}

// dead reports whether the process has come to its end, and lets it end there.
func (s *script) dead() bool {
	if s.killAt > 0 && len(s.effects) >= s.killAt-1 {
		s.killed = true
	}
	return s.killed
}

// effect makes one change, unless the script has it otherwise. d.mu is held.
func (d *core) effect(what, name string, change func()) error {
	if d.script.dead() {
		return fmt.Errorf("%s %s: %w", what, name, ErrKilled)
	}
	e := Effect{N: len(d.script.effects) + 1, What: what, Name: name}
	if d.script.hook != nil {
		if err := d.script.hook(e); err != nil {
			return fmt.Errorf("%s %s: %w", what, name, err)
		}
	}
	change()
	d.script.effects = append(d.script.effects, e)
	if d.script.dead() {
		return fmt.Errorf("%s %s: %w", what, name, ErrKilled)
	}
	return nil
}
