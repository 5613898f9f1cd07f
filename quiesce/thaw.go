package quiesce

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/docker"
)

const (
	attemptLimit = 3 * time.Second        // the first unpause; Docker needs some 20 ms
	maxAttempt   = 4 * attemptLimit       // later ones: an engine that is only slow has to come to an end
	firstBackoff = 20 * time.Millisecond  // between attempts, doubling
	maxBackoff   = 100 * time.Millisecond // an app waits for each of them
	directAfter  = 800 * time.Millisecond // for Docker to thaw, before it is done without it
	execTries    = 12                     // of a thaw command that fails: about a second
	lateWatch    = 3 * time.Second        // how long a pause that was not answered may still arrive
	watchPoll    = 50 * time.Millisecond
)

// found is what undo found of an entry.
type found string

const (
	wasFrozen found = "frozen"  // until undo let it go
	wasGone   found = "gone"    // the container has ended, and with it what was frozen
	wasNot    found = "running" // not frozen any more, or never
)

// undo lets one entry go, once, within a limit. sure says that this process saw it freeze; otherwise Docker is asked whether it
// is frozen, and whether it is still the run of the container that the entry names.
func undo(ctx context.Context, d Docker, e Entry, sure bool, limit time.Duration) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, limit+e.Timeout)
	defer cancel()
	if e.Kind == KindExec {
		return undoExec(ctx, d, e)
	}
	if !sure {
		if was, err := look(ctx, d, e); err != nil || was != wasFrozen {
			return was, err
		}
	}
	err := d.Unpause(ctx, e.Container)
	switch {
	case err == nil:
		return wasFrozen, nil
	case errors.Is(err, docker.ErrNotFound), errors.Is(err, docker.ErrNotRunning):
		return wasGone, nil
	case errors.Is(err, docker.ErrNotPaused):
		return settle(ctx, d, e)
	}
	return wasNot, err
}

// look asks Docker what an entry is: frozen only while it is the run of the container that the entry names.
func look(ctx context.Context, d Docker, e Entry) (found, error) {
	c, err := d.Inspect(ctx, e.Container)
	switch {
	case errors.Is(err, docker.ErrNotFound), err == nil && !c.Running:
		return wasGone, nil
	case err != nil || !c.Paused:
		return wasNot, err
	case c.StartedAt.Equal(e.StartedAt) || c.StartedAt.Before(e.Until):
		return wasFrozen, nil
	}
	return wasNot, nil
}

// settle agrees with Docker after "not paused", which it says of a container that has ended, too. When thawCgroup let the
// container go while Docker did not answer, Docker may still think that it is paused; it is frozen again for an instant, so
// that Docker's own unpause finds what it expects.
func settle(ctx context.Context, d Docker, e Entry) (found, error) {
	was, err := look(ctx, d, e)
	if err != nil || was != wasFrozen {
		return was, err
	}
	if err := freezeCgroup(e); err != nil {
		return wasNot, err
	}
	if err := d.Unpause(ctx, e.Container); err != nil {
		return wasNot, errors.Join(err, thawCgroup(e))
	}
	return wasNot, nil
}

func undoExec(ctx context.Context, d Docker, e Entry) (found, error) {
	res, err := d.Exec(ctx, e.Container, e.Thaw, docker.ExecOptions{})
	switch {
	case errors.Is(err, docker.ErrNotFound), errors.Is(err, docker.ErrNotRunning):
		return wasGone, nil
	case err != nil:
		return wasNot, err
	case res.Exit != 0:
		return wasNot, fmt.Errorf("thaw command %q in %s: exit status %d: %s", e.Thaw, e.Name, res.Exit, oneLine(res.Stderr))
	}
	return wasFrozen, nil
}

// undoSoon is undo for an app that waits: when Docker takes longer than directAfter, the container's control group is thawed
// directly, which direct then says, and Docker is asked all the same, so that it knows.
func undoSoon(ctx context.Context, d Docker, e Entry, sure bool, limit time.Duration, direct *atomic.Bool) (found, error) {
	if e.Kind != KindPause {
		return undo(ctx, d, e, sure, limit)
	}
	timer := time.AfterFunc(directAfter, func() { thawDirectly(e, direct) })
	defer timer.Stop()
	return undo(ctx, d, e, sure, limit)
}

// thawDirectly reports whether the control group was thawed, one that is only half frozen too. It notes in direct that the
// container was frozen until then; somebody may thaw it between the two steps, which Docker's events then tell.
func thawDirectly(e Entry, direct *atomic.Bool) bool {
	frozen := frozenCgroup(e)
	if thawCgroup(e) != nil {
		return false
	}
	if frozen {
		direct.Store(true)
	}
	return true
}

// undoUntil tries until the entry is let go or ctx ends; a thaw command that fails is given up after execTries. While Docker
// does not answer, the container's control group is thawed directly: what this process saw freeze, and was frozen still, was
// so until then.
func undoUntil(ctx context.Context, d Docker, e Entry, sure bool) (found, error) {
	var direct atomic.Bool
	saw, tries, limit := sure, 0, attemptLimit
	for wait := firstBackoff; ; wait = min(2*wait, maxBackoff) {
		was, err := undoSoon(ctx, d, e, sure, limit, &direct)
		limit = min(2*limit, maxAttempt)
		tries++
		if err == nil {
			if saw && direct.Load() {
				was = wasFrozen
			}
			return was, nil
		}
		sure = false
		log := zerolog.Ctx(ctx).With().Str("container", e.Name).Logger()
		level := zerolog.DebugLevel
		if wait == firstBackoff { // told once
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(err).Msg("thaw did not succeed, trying again")
		if e.Kind == KindPause && unanswered(err) && thawDirectly(e, &direct) {
			log.WithLevel(level).Msg("Docker does not answer: thawed the control group directly")
		}
		if e.Kind == KindExec && tries >= execTries && !unanswered(err) {
			return wasNot, fmt.Errorf("%w: container %s: %w", ErrStillFrozen, e.Name, err)
		}
		select {
		case <-ctx.Done():
			return wasNot, fmt.Errorf("%w: container %s: %w", ErrStillFrozen, e.Name, err)
		case <-time.After(wait):
		}
	}
}

// lastResort thaws the control groups of all paused containers at once when the moment comes. Until then the steps are undone
// in reverse, each in its turn; after it, that a step before them in the queue hangs keeps no container waiting.
func lastResort(at time.Time, entries func() []Entry) (cancel func() bool) {
	return time.AfterFunc(time.Until(at), func() {
		for _, e := range entries() {
			if e.Kind == KindPause {
				_ = thawCgroup(e) // whoever undoes the entry will see, and say, whether it worked
			}
		}
	}).Stop
}

func unanswered(err error) bool {
	return errors.Is(err, docker.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// inReverse calls do for the entries, last first, neighbours of KindPause in parallel. Every one is tried.
func inReverse[T any](items []T, entry func(T) Entry, do func(T) error) error {
	var errs []error
	for end := len(items); end > 0; {
		begin := end - 1
		for begin > 0 && entry(items[end-1]).Kind == KindPause && entry(items[begin-1]).Kind == KindPause {
			begin--
		}
		var g errgroup.Group
		batch := make([]error, end-begin)
		for i, it := range items[begin:end] {
			g.Go(func() error { batch[i] = do(it); return nil })
		}
		_ = g.Wait() // errors are in batch, every one of them
		errs = append(errs, batch...)
		end = begin
	}
	return errors.Join(errs...)
}

// Recover thaws what the journal of a dead run names, waits until a pause that was on its way can no longer arrive, and
// removes the journal. No journal is no error. It returns the names of what it thawed, each once. The caller holds the
// app's lock.
func Recover(ctx context.Context, d Docker, j Journal) (thawed []string, err error) {
	rec, err := j.Read()
	if err != nil || rec == nil {
		return nil, err
	}
	left := max(0, min(rec.Limit, time.Until(rec.Begun.Add(rec.Limit)))) // the clock may have jumped
	cancel := lastResort(time.Now().Add(left+directAfter), func() []Entry { return rec.Entries })
	thawed, err = thawAll(ctx, d, rec.Entries)
	cancel()
	if err != nil {
		return thawed, err
	}
	late, err := watch(ctx, d, rec.Entries)
	if err != nil {
		return append(thawed, late...), err
	}
	return append(thawed, late...), j.Remove()
}

func thawAll(ctx context.Context, d Docker, entries []Entry) ([]string, error) {
	kept := make([]bool, len(entries))
	index := make([]int, len(entries))
	for i := range index {
		index[i] = i
	}
	err := inReverse(index, func(i int) Entry { return entries[i] }, func(i int) error {
		was, err := undoUntil(ctx, d, entries[i], false)
		kept[i] = was == wasFrozen
		return err
	})
	var names []string
	for i, ok := range kept {
		if ok {
			names = append(names, entries[i].Name)
			zerolog.Ctx(ctx).Info().Str("container", entries[i].Name).Msg("thawed")
		}
	}
	return names, err
}

// watch catches pauses that Docker carries out after their caller is gone.
func watch(ctx context.Context, d Docker, entries []Entry) (thawed []string, err error) {
	var paused []Entry
	for _, e := range entries {
		if e.Kind == KindPause {
			paused = append(paused, e)
		}
	}
	if len(paused) == 0 {
		return nil, nil
	}
	end := time.NewTimer(lateWatch)
	defer end.Stop()
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return thawed, nil
		case <-ctx.Done():
			return thawed, fmt.Errorf("%w: %w", ErrStillFrozen, ctx.Err())
		case <-tick.C:
			names, err := thawAll(ctx, d, paused)
			thawed = append(thawed, names...)
			if err != nil {
				return thawed, err
			}
		}
	}
}
