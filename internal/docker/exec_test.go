package docker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

func TestExec(t *testing.T) {
	h := start(t)
	h.Run(t, "one", testhost.RunOptions{})
	mib := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name string
		argv []string
		opts docker.ExecOptions
		want docker.ExecResult
	}{
		{"streams apart", []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, docker.ExecOptions{}, docker.ExecResult{Stdout: "out\n", Stderr: "err\n", Exit: 3}},
		{"arguments as they are", []string{"/usr/bin/busybox", "printf", "%s|", "a b", "$HOME", "", "'"}, docker.ExecOptions{}, docker.ExecResult{Stdout: "a b|$HOME||'|"}},
		{"user and environment", []string{"/bin/sh", "-c", "id -un; echo $A"}, docker.ExecOptions{User: "postgres", Env: []string{"A=b c"}}, docker.ExecResult{Stdout: "postgres\nb c\n"}},
		{"input", []string{"/bin/cat"}, docker.ExecOptions{Stdin: mib[:300000]}, docker.ExecResult{Stdout: mib[:300000]}},
		{"input that nobody reads", []string{"/usr/bin/busybox", "true"}, docker.ExecOptions{Stdin: mib}, docker.ExecResult{}},
		{"much output", []string{"/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2"}, docker.ExecOptions{}, docker.ExecResult{Stdout: mib, Stderr: "end\n", Truncated: true}},
		{"streams closed early", []string{"/bin/sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 7"}, docker.ExecOptions{}, docker.ExecResult{Exit: 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.Exec(within(t, 20*time.Second), "one", tt.argv, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff[:min(len(diff), 1000)])
			}
		})
	}
	got, err := h.Exec(within(t, 20*time.Second), "one", []string{"/no/such"}, docker.ExecOptions{})
	if err != nil || got.Exit != 127 && got.Exit != 126 {
		t.Errorf("no such command: %+v, %v", got, err)
	}
	if _, err := h.Exec(within(t, time.Second), "one", nil, docker.ExecOptions{}); err == nil {
		t.Error("no command was accepted")
	}
}

func TestExecIsKilled(t *testing.T) {
	h := start(t)
	h.Run(t, "one", testhost.RunOptions{Command: []string{"/usr/bin/busybox", "sleep", "77777"}})
	goroutines := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	var r docker.ExecResult
	go func() {
		var err error
		// A tree that ignores TERM, with a child that has left its session.
		r, err = h.Exec(ctx, "one", []string{"/bin/sh", "-c", "trap '' TERM; echo begun; setsid sleep 88881 & sleep 88882 & sleep 88883; echo not reached"}, docker.ExecOptions{})
		done <- err
	}()
	for _, n := range []string{"88881", "88882", "88883"} {
		untilProcess(t, "sleep\x00"+n+"\x00")
	}
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), ", killed") || r.Stdout != "begun\n" {
		t.Errorf("%+v, %v", r, err)
	}
	left := processes(t)
	for _, n := range []string{"88881", "88882", "88883"} {
		if slices.ContainsFunc(left, func(p string) bool { return strings.HasPrefix(p, "sleep\x00"+n) }) {
			t.Errorf("sleep %s still runs", n)
		}
	}
	if c, err := h.Inspect(within(t, 5*time.Second), "one"); err != nil || c.State != "running" {
		t.Errorf("the container: %s, %v", c.State, err)
	}
	untilGoroutines(t, h, goroutines)
}

func TestExecOfAContainerThatGoes(t *testing.T) {
	h := start(t)
	h.Run(t, "one", testhost.RunOptions{})
	done := make(chan error, 1)
	go func() {
		r, err := h.Exec(within(t, 20*time.Second), "one", []string{"/bin/sleep", "99991"}, docker.ExecOptions{})
		if err == nil && r.Exit == 0 {
			err = errors.New("it counted as done")
		} else if err == nil || errors.Is(err, docker.ErrNotFound) || errors.Is(err, docker.ErrNotRunning) {
			err = nil
		}
		done <- err
	}()
	untilProcess(t, "/bin/sleep\x0099991\x00")
	h.Docker(t, "rm", "-f", "one")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExecThatIsPausedIsReported(t *testing.T) {
	h := start(t)
	h.Run(t, "one", testhost.RunOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := h.Exec(ctx, "one", []string{"/bin/sleep", "99992"}, docker.ExecOptions{})
		done <- err
	}()
	untilProcess(t, "/bin/sleep\x0099992\x00")
	h.Docker(t, "pause", "one")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may still run") {
		t.Error(err)
	}
	h.Docker(t, "unpause", "one")
	until(t, "it dies with the thaw", func() bool { return !slices.Contains(processes(t), "/bin/sleep\x0099992\x00") })
}

// untilProcess waits until some process of this host has that command line, its words each ended by a zero byte.
func untilProcess(t *testing.T, cmdline string) {
	t.Helper()
	until(t, "there is a process "+cmdline, func() bool {
		return slices.ContainsFunc(processes(t), func(p string) bool { return strings.HasSuffix(p, cmdline) })
	})
}

func processes(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			all = append(all, string(b))
		}
	}
	return all
}

func untilGoroutines(t *testing.T, h host, atMost int) {
	t.Helper()
	until(t, "no more goroutines run than before", func() bool {
		if err := h.Client.Close(); err != nil { // idle connections have two each
			t.Fatal(err)
		}
		return runtime.NumGoroutine() <= atMost
	})
}
