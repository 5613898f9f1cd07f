package command_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
)

// runAndCancel cancels once the program has written a line, which it returns.
func runAndCancel(t *testing.T, argv []string) (line string, took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := command.Run(ctx, command.Cmd{Argv: argv, Stdout: w})
		done <- errors.Join(err, w.Close())
	}()
	line, readErr := bufio.NewReader(r).ReadString('\n')
	begin := time.Now()
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	err = <-done
	if readErr != nil {
		t.Fatalf("%v, %v", readErr, err)
	}
	return strings.TrimSpace(line), time.Since(begin), err
}

// alive tells whether a process still runs; a zombie does not.
func alive(t *testing.T, pid string) bool {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func waitDead(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); alive(t, pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s still runs", pid)
		}
	}
}

func TestCancelEndsGrandchildren(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"in the foreground", `sh -c 'echo $$; sleep 60'; :`},
		{"in the background", `sleep 60 & echo $!; wait`},
		{"in the background, deaf", `sh -c 'trap "" TERM HUP INT; echo $$; while :; do sleep 60; done' & wait`},
		{"outliving a parent that ends in peace", `trap 'exit 0' TERM; (trap "" TERM; echo $(exec sh -c 'echo $PPID'); sleep 60) & wait`},
	} {
		t.Run(test.name, func(t *testing.T) {
			pid, took, err := runAndCancel(t, sh(test.script))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want Canceled", err)
			}
			if took > command.Grace {
				t.Errorf("took %s", took)
			}
			waitDead(t, pid)
		})
	}
}

func TestCancelKillsTheDeaf(t *testing.T) {
	t.Parallel()
	pid, took, err := runAndCancel(t, sh(`trap "" TERM; echo $$; while :; do sleep 60; done`))
	var e *command.Error
	if !errors.As(err, &e) || e.Signal != syscall.SIGKILL || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want SIGKILL and Canceled", err)
	}
	if took < command.Grace || took > 2*command.Grace {
		t.Errorf("took %s, want one Grace", took)
	}
	waitDead(t, pid)
}

func TestCancelKillsTheStopped(t *testing.T) {
	t.Parallel()
	pid, _, err := runAndCancel(t, sh(`echo $$; kill -STOP $$`))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	waitDead(t, pid)
}

func TestCancelWithABlockedStdin(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe() // nobody ever writes
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := command.Run(ctx, command.Cmd{Argv: []string{"cat"}, Stdin: r})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 2*command.Grace+time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

func TestCauseIsNamed(t *testing.T) {
	why := errors.New("freeze limit")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer cancel()
	_, err := command.Run(ctx, command.Cmd{Argv: []string{"sleep", "60"}})
	if !errors.Is(err, why) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestUnkillable runs a program that hangs in the kernel: it writes to a frozen file system.
func TestUnkillable(t *testing.T) {
	t.Parallel()
	dir := frozenFileSystem(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	var e *command.Error
	_, err := command.Run(ctx, command.Cmd{Argv: []string{"touch", filepath.Join(dir, "x")}})
	if !errors.Is(err, command.ErrStillRunning) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) {
		t.Errorf("%v, want ErrStillRunning", err)
	}
	if took := time.Since(begin); took > 2*command.Grace+2*time.Second {
		t.Errorf("took %s", took)
	}
}

// frozenFileSystem is a mounted Btrfs to which every write hangs until the test is over.
func frozenFileSystem(t *testing.T) string {
	t.Helper()
	dir := testhost.Btrfs(t, 128<<20)
	freeze := func(flag string) {
		t.Helper()
		if _, err := command.Run(context.Background(), command.Cmd{Argv: []string{"fsfreeze", flag, dir}}); err != nil {
			t.Fatal(err)
		}
	}
	freeze("-f")
	t.Cleanup(func() {
		freeze("-u")
		waitUnused(t, dir) // or it could not be unmounted
	})
	return dir
}

// waitUnused returns when no child of ours names dir among its arguments any more.
func waitUnused(t *testing.T, dir string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		if args, _ := os.ReadFile(file); strings.Contains(string(args), "touch\x00"+dir) {
			waitDead(t, filepath.Base(filepath.Dir(file)))
		}
	}
}

func TestRunLeavesNoZombies(t *testing.T) {
	for range 20 {
		if _, err := command.Run(t.Context(), command.Cmd{Argv: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, thread := range threads {
		children, _ := os.ReadFile(thread) // the thread may have ended
		for _, pid := range strings.Fields(string(children)) {
			if !alive(t, pid) {
				t.Errorf("process %s is a zombie", pid)
			}
		}
	}
}
