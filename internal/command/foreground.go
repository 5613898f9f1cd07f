package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Foreground runs a program to its end in our place: with our terminal, our process group, and our environment as it is, the locale
// too. Unless it exits with status 0, the error is an *Error; with Exit -1 and no Signal it was not started.
//
// Signals that ask us to end reach the program and not us: until it has ended, nothing that somebody sends to this process ends it,
// but for SIGKILL. What a terminal sends, the program has had by itself, as a member of the group, and does not get a second time: to
// many programs the second Ctrl-C means more than the first. It is not killed when ctx ends; when that has ended, it is not started.
//
// That we ignore SIGPIPE is ours alone: the program has the system's default.
func Foreground(ctx context.Context, c Cmd) error {
	if err := c.check(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	deaf := signal.Ignored(syscall.SIGPIPE)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	defer func() {
		if deaf {
			signal.Ignore(syscall.SIGPIPE)
		}
		signal.Stop(signals)
	}()
	if ctx.Err() != nil { // by a signal, say, that came before we listened
		return &Error{Argv: c.Argv, Exit: -1, Err: ctxError(ctx)}
	}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Stdin, c.Stdout, c.Stderr
	cmd.Env = append(os.Environ(), c.Env...)
	if err := cmd.Start(); err != nil {
		return &Error{Argv: c.Argv, Exit: -1, Err: startError(err)}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGPIPE && !typed(s) {
				_ = cmd.Process.Signal(s) // it may just have ended
			}
		case err := <-ended:
			return endOf(c, cmd, err)
		}
	}
}

// endOf is the error of a program that ended with err from exec.Cmd.Wait.
func endOf(c Cmd, cmd *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Argv: c.Argv, Exit: cmd.ProcessState.ExitCode()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	}
	var byStatus *exec.ExitError
	if !errors.As(err, &byStatus) {
		e.Err = err
	}
	return e
}

// typed reports whether a signal is one that is typed at a terminal, and we are what runs at ours: then all of our process group
// had it. That it was sent to us alone, by kill(1), cannot be told there from here (Go shows no si_code); SIGTERM always is passed on.
func typed(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
