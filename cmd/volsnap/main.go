// Command volsnap keeps a Docker host's data recoverable: it takes sets of snapshots of all of an app's volumes while the
// app's containers hold still for a moment, and prunes old sets by policy.
//
// One file a command. This package knows the configuration and the concrete drivers, and wires them to the engine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/volsnap/volsnap/internal/state"
)

// version is set by the linker.
var version = "unknown"

// The exit statuses, as the README promises them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartly      = 3
	exitLocked      = 4
	exitInterrupted = 130
)

func main() {
	// A closed stdout must not end the process while containers are paused: writing to it is an error like any other.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	status := p.main(ctx, os.Args)
	stop()
	os.Exit(status)
}

// program is one invocation.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	bar            atomic.Pointer[progress] // while one is shown
}

// statusError ends the program with a status of its own; it has been reported already.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is bad input: exit status 2, and nothing was changed.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// partlyError is returned when some of several apps failed.
type partlyError struct{ error }

func (p partlyError) Unwrap() error { return p.error }

// failedError is returned when all of several apps failed, though not all for the same reason.
type failedError struct{ error }

func (f failedError) Unwrap() error { return f.error }

func (p *program) main(ctx context.Context, argv []string) int {
	app := p.app()
	argv, err := arrange(app, argv)
	if err == nil {
		err = app.RunContext(ctx, argv)
	}
	status := exitStatus(ctx, err)
	var reported statusError
	if err == nil || errors.As(err, &reported) {
		return status
	}
	if _, werr := fmt.Fprintf(p.stderr, "volsnap: %s\n", printable(err)); werr != nil {
		return status
	}
	if h := hint(err); h != "" {
		_, _ = fmt.Fprintf(p.stderr, "hint: %s\n", h) // stderr is gone: nobody to tell
	}
	return status
}

// exitStatus is the one place where an error becomes a status.
func exitStatus(ctx context.Context, err error) int {
	var (
		status statusError
		usage  usageError
		partly partlyError
		failed failedError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &partly):
		return exitPartly
	case !errors.As(err, &failed) && errors.Is(err, state.ErrLocked):
		return exitLocked
	default:
		return exitFailed
	}
}
