package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// running is one program under Run.
type running struct {
	cmd    Cmd
	exec   *exec.Cmd
	gate   *gate
	stdout *limited // nil if the caller takes stdout
	stderr *excerpt
}

func newRunning(c Cmd) *running {
	r := &running{cmd: c, exec: c.exec(), gate: &gate{}, stderr: &excerpt{}}
	r.exec.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.exec.WaitDelay = Grace
	r.exec.Stdin = c.Stdin
	switch file, isFile := c.Stdout.(*os.File); {
	case c.Stdout == nil:
		r.stdout = &limited{max: MaxStdout}
		r.exec.Stdout = r.gate.writer(r.stdout)
	case isFile:
		r.exec.Stdout = file // the program writes to it directly
	default:
		r.exec.Stdout = r.gate.writer(c.Stdout)
	}
	if c.Stderr == nil {
		r.exec.Stderr = r.gate.writer(r.stderr)
	} else {
		r.exec.Stderr = r.gate.writer(r.stderr, c.Stderr)
	}
	return r
}

func (r *running) run(ctx context.Context) (Output, error) {
	if err := r.exec.Start(); err != nil {
		return Output{}, &Error{Argv: r.cmd.Argv, Exit: -1, Err: startError(err)}
	}
	exited := make(chan struct{})
	waited := make(chan error, 1)
	release := make(chan struct{})
	go func() {
		awaitExit(r.exec.Process.Pid)
		close(exited)
		<-release // until here its process group cannot become somebody else's
		waited <- r.exec.Wait()
	}()

	ended := r.watch(ctx, exited)
	close(release)
	if ended == nil {
		return r.result(<-waited, nil)
	}
	giveUp := time.NewTimer(Grace)
	defer giveUp.Stop()
	select {
	case err := <-waited:
		return r.result(err, ended)
	case <-giveUp.C:
		r.gate.shut()
		return r.output(), &Error{Argv: r.cmd.Argv, Exit: -1, Stderr: r.stderr.String(), Err: errors.Join(ended, ErrStillRunning)}
	}
}

// watch returns once the program has exited by itself (nil), or once everything was killed because ctx ended (its error).
func (r *running) watch(ctx context.Context, exited <-chan struct{}) error {
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		select {
		case <-exited: // both at once: it had done its work
			return nil
		default:
		}
	}
	r.signal(syscall.SIGTERM)
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case <-exited:
	case <-grace.C:
	}
	r.signal(syscall.SIGKILL)
	return ctxError(ctx)
}

// signal reaches the program and what it started. The group is still ours, since nobody has reaped the program yet; that
// there is no one left to hear it is no error.
func (r *running) signal(s syscall.Signal) { _ = syscall.Kill(-r.exec.Process.Pid, s) }

// result is what Run returns for a program that has ended with err from exec.Cmd.Wait.
func (r *running) result(err, ended error) (Output, error) {
	r.gate.shut()
	out := r.output()
	if err == nil && ended == nil {
		return out, nil
	}
	e := &Error{Argv: r.cmd.Argv, Exit: -1, Stderr: out.Stderr, Err: ended}
	if status, ok := r.exec.ProcessState.Sys().(syscall.WaitStatus); ok {
		if status.Signaled() {
			e.Signal = status.Signal()
		} else {
			e.Exit = status.ExitStatus()
		}
	}
	var byStatus *exec.ExitError
	if ended == nil && !errors.As(err, &byStatus) {
		e.Err = err // it is the plumbing that failed: a writer, a reader, or a pipe that stayed open
	}
	if ended == nil && r.gate.failed != nil {
		e.Err = r.gate.failed // and a broken pipe is only what the program saw of it
	}
	return out, e
}

func (r *running) output() Output {
	out := Output{Stderr: r.stderr.String()}
	if r.stdout != nil {
		out.Stdout = bytes.Clone(r.stdout.buf.Bytes())
	}
	return out
}

// awaitExit returns when the child has exited, and leaves it to be reaped (waitid(2), WNOWAIT).
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
