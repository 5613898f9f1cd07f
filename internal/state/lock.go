package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a lock can be held by.
var (
	ErrLocked = errors.New("another run has the lock")
	ErrLive   = fmt.Errorf("%w, and is alive", ErrLocked) // wraps ErrLocked
)

const (
	orphanWait = 30 * time.Second // how long to wait for the dead-man of a dead run to let go
	orphanPoll = 10 * time.Millisecond
)

// Lock is an exclusive lock on one app. It belongs to the open file, so a child that inherits File keeps it held after
// its parent died: that is how a dead-man keeps the next run out until it has thawed.
type Lock struct{ file *os.File }

// LockApp takes the lock of app, a valid app name, in runDir. It fails at once with ErrLive while another live process
// has it, and waits for it to be let go when the process that took it is dead, for 30 s at most.
func LockApp(ctx context.Context, runDir, app string) (*Lock, error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	path := filepath.Join(runDir, app+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := acquire(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if err := writeHolder(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock %s: %w", path, err), f.Close())
	}
	return &Lock{file: f}, nil
}

// File is the locked file, for a child to inherit.
func (l *Lock) File() *os.File { return l.file }

// Release lets the lock go in this process and in every child that inherited it.
func (l *Lock) Release() error {
	return errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}

func acquire(ctx context.Context, f *os.File) error {
	deadline := time.NewTimer(orphanWait)
	defer deadline.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if pid := readHolder(f); pid != 0 && alive(pid) {
			return fmt.Errorf("%w (process %d)", ErrLive, pid)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C: // ErrLocked alone
			return fmt.Errorf("%w: the process that took it is dead, and what it left behind still thaws", ErrLocked)
		case <-time.After(orphanPoll):
		}
	}
}

// writeHolder notes who has the lock. The note only decides whether to wait, so it need not be durable.
func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readHolder(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

func alive(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
