package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Process is a program that Detached has started.
type Process struct {
	Pid  int
	exec *exec.Cmd
}

// Detached starts a program that goes on when we die: it leads a session of its own, so that neither our terminal nor a
// signal to our process group ends it, and nothing of it runs inside this process. files become its descriptors 3, 4, …;
// the caller still has to close its own copies. Stdin, Stdout and Stderr must be an *os.File or nil.
//
// It stays in our control group: a service manager that kills the whole group kills it too.
//
// "/proc/self/exe" as the program is this very binary, even if its file was replaced or removed since.
func Detached(c Cmd, files []*os.File) (*Process, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	cmd := c.exec()
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	if err := standardFiles(cmd, c); err != nil {
		return nil, &Error{Argv: c.Argv, Exit: -1, Err: err}
	}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, &Error{Argv: c.Argv, Exit: -1, Err: startError(err)}
	}
	return &Process{Pid: cmd.Process.Pid, exec: cmd}, nil
}

func standardFiles(cmd *exec.Cmd, c Cmd) error {
	if c.Stdin != nil {
		file, ok := c.Stdin.(*os.File)
		if !ok {
			return errNoFile("stdin", c.Stdin)
		}
		cmd.Stdin = file
	}
	for _, w := range []struct {
		name string
		from io.Writer
		to   *io.Writer
	}{{"stdout", c.Stdout, &cmd.Stdout}, {"stderr", c.Stderr, &cmd.Stderr}} {
		if w.from == nil {
			continue
		}
		file, ok := w.from.(*os.File)
		if !ok {
			return errNoFile(w.name, w.from)
		}
		*w.to = file
	}
	return nil
}

func errNoFile(name string, v any) error {
	return fmt.Errorf("%s of a detached program is no file but a %T", name, v)
}

// Wait returns when the program has ended, and must be called once if we live that long, lest it stays a zombie. The error
// is an *Error unless it exited with status 0.
func (p *Process) Wait() error {
	err := p.exec.Wait()
	if err == nil {
		return nil
	}
	e := &Error{Argv: p.exec.Args, Exit: -1}
	var byStatus *exec.ExitError
	if !errors.As(err, &byStatus) {
		e.Err = err
		return e
	}
	if status, ok := byStatus.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.Exit = byStatus.ExitCode()
	}
	return e
}

// Kill ends the program at once. That it has ended already is no error.
func (p *Process) Kill() error {
	if err := p.exec.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.Pid, err)
	}
	return nil
}
