package main

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever waits for a client on a line that hangs is let go by Close, though standard input is in blocking mode.
func TestCloseEndsARead(t *testing.T) {
	socket, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(socket[0]), "near"), os.NewFile(uintptr(socket[1]), "far")
	second, err := unix.Dup(socket[0])
	if err != nil {
		t.Fatal(err)
	}
	s := newStdio(near, os.NewFile(uintptr(second), "near, too"))
	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		ended <- err
	}()
	if _, err := io.WriteString(s, "x"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Read still waits")
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "x" {
		t.Errorf("the other side read %q, %v", got, err)
	}
	if err := far.Close(); err != nil {
		t.Error(err)
	}
}

// What is no connection has other users, who want it as it is.
func TestTerminalsAreLeft(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if s := newStdio(null, io.Discard); s.in != null {
		t.Error("standard input was changed")
	}
	if s := newStdio(null, null); s.in != null || s.out != null {
		t.Error("standard input or output was changed")
	}
}
