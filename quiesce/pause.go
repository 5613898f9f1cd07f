package quiesce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/docker"
)

// PauseStep pauses containers (docker pause: the kernel's freezer stops every process of the container, and none of them
// notices). Wave after wave, so that writers hold still before the databases they write to; in parallel inside a wave.
type PauseStep struct {
	Docker Docker
	Waves  [][]Entry
}

// PauseEntry is the entry of a container that is to be paused.
func PauseEntry(c docker.Container) Entry {
	return Entry{Kind: KindPause, Container: c.ID, Name: c.Name, StartedAt: c.StartedAt, PID: c.PID}
}

// Entries are all containers of all waves.
func (s PauseStep) Entries() []Entry {
	var all []Entry
	for _, w := range s.Waves {
		all = append(all, w...)
	}
	return all
}

// Freeze pauses the waves. A container that was paused by others, stopped or removed since it was looked up is no error: it
// is left as it is, and whoever computes the set's consistency looks at it again.
func (s PauseStep) Freeze(ctx context.Context, h *Hold) error {
	for _, wave := range s.Waves {
		var g errgroup.Group
		errs := make([]error, len(wave))
		for i, e := range wave {
			g.Go(func() error { errs[i] = s.pause(ctx, h, e); return nil })
		}
		_ = g.Wait() // errors are in errs, every one of them
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// pause asks until it is known whether the container is paused. Under load runc now and then answers "unable to freeze";
// such a call, or one that timed out, may have paused it all the same.
func (s PauseStep) pause(ctx context.Context, h *Hold, e Entry) error {
	h.try(e)
	ours := false // a call of ours may have taken effect
	for wait := firstBackoff; ; wait = min(2*wait, maxBackoff) {
		err := s.Docker.Pause(ctx, e.Container)
		switch {
		case err == nil, ours && errors.Is(err, docker.ErrAlreadyPaused):
			h.held(e)
			return nil
		case notOurs(err):
			return h.left(e)
		case ctx.Err() != nil:
			return fmt.Errorf("pause container %s: %w", e.Name, err)
		}
		ours = true
		if c, lookErr := s.Docker.Inspect(ctx, e.Container); lookErr == nil && c.Paused {
			h.held(e)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pause container %s: %w", e.Name, err)
		case <-time.After(wait):
		}
	}
}

func notOurs(err error) bool {
	for _, is := range []error{docker.ErrAlreadyPaused, docker.ErrNotFound, docker.ErrNotRunning, docker.ErrRestarting} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
