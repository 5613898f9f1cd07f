// Package command runs other programs. It is the only place outside of tests that imports os/exec, so that every program
// volsnap starts is started, watched, stopped and reported in one way.
//
// # What holds for each program
//
// No shell is involved: the arguments reach the program as they are, whatever they contain. It runs under LC_ALL=C, so
// that its messages can be matched, unless it is in the foreground. A failure is an *Error with the arguments, the exit status
// and what it wrote to stderr.
//
// # Three ways to start
//
// Run waits, and ends the program with everything that it started when the context ends. Detached is for the one process
// that has to outlive us, the dead-man of package quiesce. Foreground is for a program of the operator's, which has the terminal.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// ErrNotFound is what an Error wraps when the program is not installed.
var ErrNotFound = exec.ErrNotFound

// ErrStillRunning is what an Error wraps when the context has ended and the program could not be killed, because it hangs
// inside the kernel. It may still take effect later.
var ErrStillRunning = errors.New("could not be killed and may still take effect")

// ErrTooLong is what an Error wraps when the program wrote more to stdout than Output can hold.
var ErrTooLong = errors.New("wrote more output than is accepted")

// MaxStdout is how many bytes Output.Stdout can hold. More is an error and not cut off: half a listing is none.
const MaxStdout = 32 << 20

// Grace is how long a program has to end after SIGTERM before it is killed, and after SIGKILL before Run gives it up.
const Grace = 2 * time.Second

// Cmd says what to run.
type Cmd struct {
	Argv   []string  // the program, by name or path, and its arguments; never empty
	Env    []string  // NAME=VALUE, in addition to our own environment; LC_ALL is always C, but in the Foreground
	Dir    string    // working directory; empty: ours, or "/" for Detached, which must not keep a mount busy
	Stdin  io.Reader // nil: /dev/null
	Stdout io.Writer // nil: Output.Stdout, or /dev/null for Detached
	Stderr io.Writer // nil: kept for Error only, or /dev/null for Detached
}

// Output is what a program that Run has started left.
type Output struct {
	Stdout []byte // empty if Cmd.Stdout is set
	Stderr string // its beginning and its end, at most about 32 KiB; of a program that succeeded, warnings
	Took   time.Duration
}

// LookPath finds an installed program by name. The error wraps ErrNotFound if there is none.
func LookPath(name string) (string, error) { return exec.LookPath(name) }

// Run runs a program to its end. Unless it exits with status 0, the error is an *Error, and Output has what there was.
//
// When ctx ends first, the program and what it started (its process group) get SIGTERM, and SIGKILL as soon as the program
// itself is gone or Grace has passed. The error then wraps that of ctx. Run returns at the latest twice Grace after ctx,
// with ErrStillRunning if even SIGKILL did nothing. It writes nothing to the writers of Cmd after it has returned; a
// Stdin that blocks in Read may be left with one reader.
//
// What a program leaves behind on purpose (a daemon) is not killed; if that keeps stdout or stderr open, Run waits Grace
// for it to close them, and then fails, since the output may be incomplete.
func Run(ctx context.Context, c Cmd) (Output, error) {
	if err := c.check(); err != nil {
		return Output{}, err
	}
	if ctx.Err() != nil {
		return Output{}, &Error{Argv: c.Argv, Exit: -1, Err: ctxError(ctx)}
	}
	r := newRunning(c)
	begin := time.Now()
	out, err := r.run(ctx)
	out.Took = time.Since(begin)
	zerolog.Ctx(ctx).Debug().Strs("argv", c.Argv).Dur("took", out.Took).AnErr("error", err).Msg("ran")
	return out, err
}

func (c Cmd) check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return &Error{Argv: c.Argv, Exit: -1, Err: errors.New("no program is named")}
	}
	for _, arg := range c.Argv {
		if strings.ContainsRune(arg, 0) {
			return &Error{Argv: c.Argv, Exit: -1, Err: errors.New("an argument holds a zero byte")}
		}
	}
	return nil
}

func (c Cmd) exec() *exec.Cmd {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), c.Env...), "LC_ALL=C") // the last one of a name wins
	return cmd
}

// ctxError is the error of an ended context, with the cause if it was given one.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
