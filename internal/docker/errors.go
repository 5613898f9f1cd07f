package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
)

// What callers branch on.
var (
	ErrUnavailable   = errors.New("no Docker engine answers") // also: it went away before it had answered
	ErrNotFound      = errors.New("not found")
	ErrNotRunning    = errors.New("not running")
	ErrRestarting    = errors.New("restarting")
	ErrPaused        = errors.New("paused")
	ErrAlreadyPaused = errors.New("already paused")
	ErrNotPaused     = errors.New("not paused")
	ErrCannotFreeze  = errors.New("cannot be frozen now")  // under load, seldom; trying again helps
	ErrCannotUpdate  = errors.New("cannot be changed now") // its process was just ending, as a rule; trying again helps
)

// patterns tell the engine's answers apart; the first that is contained in the lower-cased message wins. The texts are
// those of daemon/errors.go, daemon/pause.go and daemon/unpause.go of moby 20.10 to 28, and of runc's freezers:
// libcontainer/cgroups/fs/freezer.go ("unable to freeze") and fs2/freezer.go ("waiting for the cgroup to freeze").
var patterns = []struct {
	text string
	is   error
}{
	{"unable to freeze", ErrCannotFreeze},
	{"waiting for the cgroup to freeze", ErrCannotFreeze},
	{"cannot update container", ErrCannotUpdate}, // daemon/update.go, whatever containerd or runc said of a process that had just ended
	{"is already paused", ErrAlreadyPaused},
	{"is not paused", ErrNotPaused},
	{"container not paused", ErrNotPaused}, // runc, where the engine thinks that it is
	{"is paused, unpause the container", ErrPaused},
	{"is restarting", ErrRestarting},
	{"is not running", ErrNotRunning},
	{"container not running", ErrNotRunning}, // runc, of a container that has just ended
	{"cannot pause container that is not", ErrNotRunning},
}

// wrap says what was tried and adds the sentinel that fits. A context's end stays recognizable and is never mistaken for
// an engine that is away.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if is := classify(err); is != nil {
		return fmt.Errorf("%s: %w: %w", what, is, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func classify(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if client.IsErrConnectionFailed(err) {
		return ErrUnavailable
	}
	text := strings.ToLower(err.Error())
	for _, p := range patterns {
		if strings.Contains(text, p.text) {
			return p.is
		}
	}
	switch {
	case errdefs.IsNotFound(err):
		return ErrNotFound
	case errdefs.IsUnavailable(err):
		return ErrUnavailable
	}
	return nil
}
