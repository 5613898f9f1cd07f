package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// stdio is standard input and output as one connection.
type stdio struct {
	in    io.Reader
	out   io.Writer
	close []any // closed if they can be
}

// newStdio makes one whose Close ends a Read that waits. Standard input is in blocking mode as a rule, and there it would wait
// until the other side says something or goes; when the line hangs neither happens, for hours.
func newStdio(in io.Reader, out io.Writer) stdio {
	from, isFile := in.(*os.File)
	to, isFile2 := out.(*os.File)
	if isFile && isFile2 && connects(from) && connects(to) {
		in, out := pollable(from), pollable(to)
		return stdio{in, out, []any{in, out, from, to}}
	}
	return stdio{in, out, []any{in, out}}
}

// connects reports whether a file is one end of a pipe or of a socket. What else it may be has the mode of its other users: of
// a terminal that is the shell.
func connects(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// pollable is another descriptor of the same for the runtime's poller. Input and output may be one socket, which has one mode:
// so both are made so, or neither.
func pollable(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return f
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}

func (s stdio) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close ends the connection.
func (s stdio) Close() error {
	var errs []error
	for _, one := range s.close {
		if c, ok := one.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
