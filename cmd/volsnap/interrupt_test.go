package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A run that waits ends with its own status when it is asked to, and leaves nothing.
func TestInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			app, run := newApp(), t.TempDir()
			lock := orphanLock(t, run, app)
			cmd := exec.Command("volsnap", "delete", app+"-20260101T000000.000Z", "--run-dir", run, "--state-dir", t.TempDir())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, "it waits for the lock", func() bool { return hasOpen(cmd.Process.Pid, lock) })
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
				t.Errorf("%v, want exit status %d: %s", err, exitInterrupted, &stderr)
			}
			if !strings.HasPrefix(stderr.String(), "volsnap: ") {
				t.Errorf("it says %q", &stderr)
			}
		})
	}
}

// orphanLock is a lock whose process is dead, held by what that left behind: a run waits for it.
func orphanLock(t *testing.T, run, app string) (path string) {
	t.Helper()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(run, app+".lock")
	if err := os.WriteFile(path, fmt.Appendln(nil, dead.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return path
}

func hasOpen(pid int, path string) bool {
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range open {
		if to, err := os.Readlink(fd); err == nil && to == path {
			return true
		}
	}
	return false
}

// until asks again and again for what happens by itself.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ask() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
