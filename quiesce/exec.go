package quiesce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
)

// ErrCommand says that a freeze command did not succeed.
var ErrCommand = errors.New("freeze command did not succeed")

// ExecStep runs a command in a container to make it hold still, and another to let it go on. Both are given as arrays: no
// shell takes part. Without a thaw command it holds nothing.
type ExecStep struct {
	Docker    Docker
	Container docker.Container
	Argv      []string // freezes
	Thaw      []string // undoes it; it may be run twice
	Timeout   time.Duration
}

// Entries is the thaw command, if there is one.
func (s ExecStep) Entries() []Entry {
	if len(s.Thaw) == 0 {
		return nil
	}
	c := s.Container
	return []Entry{{Kind: KindExec, Container: c.ID, Name: c.Name, StartedAt: c.StartedAt, PID: c.PID, Thaw: s.Thaw, Timeout: s.Timeout}}
}

// Freeze runs the command and kills it at the time-out.
func (s ExecStep) Freeze(ctx context.Context, h *Hold) error {
	entries := s.Entries()
	for _, e := range entries {
		h.try(e)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	res, err := s.Docker.Exec(ctx, s.Container.ID, s.Argv, docker.ExecOptions{})
	if err != nil {
		return fmt.Errorf("%w: %q in container %s: %w", ErrCommand, s.Argv, s.Container.Name, err)
	}
	if res.Exit != 0 {
		return fmt.Errorf("%w: %q in container %s: exit status %d: %s", ErrCommand, s.Argv, s.Container.Name, res.Exit, oneLine(res.Stderr))
	}
	for _, e := range entries {
		h.held(e)
	}
	return nil
}
