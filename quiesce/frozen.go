package quiesce

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// thawLimit is how long Frozen goes on trying to thaw before it leaves that to the dead-man and says so.
const thawLimit = 30 * time.Second

// lateStart is for how long after the limit a container that was started again may still be paused by us: Docker may carry
// out a pause late.
const lateStart = 10 * time.Second

// Guard sees to it that what is frozen is thawed even when this process dies. DeadMan is the real one.
type Guard interface {
	// Arm notes the entries durably and starts the clock. Nothing is frozen before it returned without an error.
	Arm(entries []Entry, limit time.Duration) error
	// Leave strikes an entry: it is not ours to thaw.
	Leave(e Entry) error
	// Disarm says that all is thawed.
	Disarm() error
}

// Freezer is what Frozen needs.
type Freezer struct {
	Docker Docker
	Guard  Guard
	Limit  time.Duration // the longest pause
}

// Frozen runs the steps in order, then fn, for at most the limit since the first entry was touched, and thaws in reverse:
// whether fn returns, fails, panics (the panic goes on after the thaw), hangs, or ctx ends. When fn hangs, all is thawed at
// the limit, and Frozen returns after fn did.
//
// The error is nil only when fn returned nil and every container that was paused for it stayed so until it was let go, or ended.
func (f Freezer) Frozen(ctx context.Context, steps []Step, fn func(context.Context) error) (Pause, error) {
	first := slices.IndexFunc(steps, func(s Step) bool { return len(s.Entries()) > 0 })
	if first < 0 {
		return Pause{}, freezeAll(ctx, steps, nil, fn)
	}
	if err := freezeAll(ctx, steps[:first], nil, nil); err != nil {
		return Pause{}, err
	}
	return f.hold(ctx, steps[first:], fn)
}

func (f Freezer) hold(ctx context.Context, steps []Step, fn func(context.Context) error) (Pause, error) {
	var entries []Entry
	for _, s := range steps {
		entries = append(entries, s.Entries()...)
	}
	for i := range entries {
		entries[i].Until = time.Now().Add(f.Limit + lateStart)
	}
	h := newHold(entries, f.Guard.Leave)
	if err := ctx.Err(); err != nil {
		return Pause{}, err
	}
	if err := f.Guard.Arm(entries, f.Limit); err != nil {
		return Pause{}, errors.Join(fmt.Errorf("arm the dead-man: %w", err), f.Guard.Disarm())
	}
	// Not WithTimeoutCause: net/http returns the cause in place of DeadlineExceeded, and then an engine that was slow would
	// look like one that is away.
	limited, cancel := context.WithTimeout(ctx, f.Limit)
	defer cancel()
	deadline, _ := limited.Deadline()
	defer lastResort(deadline.Add(directAfter), func() (all []Entry) {
		for _, it := range h.in(held, trying) {
			all = append(all, it.entry)
		}
		return all
	})()
	done := make(chan outcome, 1)
	go func() {
		out := attempt(func() error { return freezeAll(limited, steps, h, fn) })
		out.late = !time.Now().Before(deadline) // and maybe thawed by the dead-man by now: this process may have been stopped
		done <- out
	}()

	var out outcome
	late := false
	select {
	case out = <-done:
	case <-limited.Done():
		late = true
	}
	thawErr := f.thaw(ctx, h)
	if late {
		out = <-done
		thawErr = errors.Join(thawErr, f.thaw(ctx, h)) // a step may have frozen something while we thawed
	}
	cause := ctx.Err()
	if cause == nil && out.late {
		cause = ErrLimit
	}
	if cause != nil && out.err != nil && !errors.Is(out.err, cause) {
		out.err = fmt.Errorf("%w: %w", cause, out.err)
	} else if (late || out.late) && out.err == nil {
		out.err = cause
	}
	return f.finish(h, out, thawErr)
}

func (f Freezer) finish(h *Hold, out outcome, thawErr error) (Pause, error) {
	if thawErr == nil {
		thawErr = f.Guard.Disarm()
	}
	if out.panicked != nil {
		since := "all thawed since"
		if thawErr != nil {
			since = thawErr.Error()
		}
		panic(fmt.Sprintf("%v\n\nwhile frozen (%s):\n%s", out.panicked, since, out.stack))
	}
	p := h.pause()
	if out.err == nil {
		for _, c := range p.Containers {
			if !c.Held && !c.Ended {
				out.err = errors.Join(out.err, fmt.Errorf("%w: %s", ErrNotHeld, c.Name))
			}
		}
	}
	return p, errors.Join(out.err, thawErr)
}

// thaw lets go whatever h says is or may be frozen, on a context of its own, and then waits for pauses that Docker may
// carry out late.
func (f Freezer) thaw(ctx context.Context, h *Hold) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawLimit)
	defer cancel()
	var doubtful []Entry
	for _, it := range h.in(trying) {
		doubtful = append(doubtful, it.entry)
	}
	err := inReverse(h.in(held, trying), func(it *holdItem) Entry { return it.entry }, func(it *holdItem) error {
		was, err := undoUntil(ctx, f.Docker, it.entry, h.sure(it))
		if err == nil {
			h.thawed(it, was)
		}
		return err
	})
	_, late := watch(ctx, f.Docker, doubtful)
	return errors.Join(err, late)
}

func freezeAll(ctx context.Context, steps []Step, h *Hold, fn func(context.Context) error) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.Freeze(ctx, h); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil || fn == nil {
		return err
	}
	return fn(ctx)
}

type outcome struct {
	err      error
	late     bool // it ended after the limit
	panicked any
	stack    []byte
}

func attempt(fn func() error) (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			out = outcome{panicked: r, stack: debug.Stack()}
		}
	}()
	return outcome{err: fn()}
}
