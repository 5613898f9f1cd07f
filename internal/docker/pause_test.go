package docker_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

func TestPauseAndUnpause(t *testing.T) {
	h := start(t)
	h.Run(t, "one", testhost.RunOptions{})
	h.Docker(t, "create", "--name", "never", testhost.ImageName, "/nothing")
	h.Run(t, "crashing", testhost.RunOptions{Flags: []string{"--restart", "always"}, Command: []string{"/usr/bin/busybox", "false"}})
	ctx := within(t, 30*time.Second)
	until(t, "it restarts", func() bool {
		c, err := h.Inspect(ctx, "crashing")
		if err != nil {
			t.Fatal(err)
		}
		return c.Restarting
	})
	exec := func(ctx context.Context, id string) error {
		_, err := h.Exec(ctx, id, []string{"/usr/bin/busybox", "true"}, docker.ExecOptions{})
		return err
	}
	steps := []struct {
		name string
		do   func(context.Context, string) error
		id   string
		want error
	}{
		{"unpause a running one", h.Unpause, "one", docker.ErrNotPaused},
		{"pause", h.Pause, "one", nil},
		{"pause twice", h.Pause, "one", docker.ErrAlreadyPaused},
		{"exec in a paused one", exec, "one", docker.ErrPaused},
		{"unpause", h.Unpause, "one", nil},
		{"exec", exec, "one", nil},
		{"pause one that never ran", h.Pause, "never", docker.ErrNotRunning},
		{"unpause one that never ran", h.Unpause, "never", docker.ErrNotPaused},
		{"exec in one that never ran", exec, "never", docker.ErrNotRunning},
		{"pause a removed one", h.Pause, "gone", docker.ErrNotFound},
		{"unpause a removed one", h.Unpause, "gone", docker.ErrNotFound},
		{"exec in a removed one", exec, "gone", docker.ErrNotFound},
	}
	for _, s := range steps {
		if err := s.do(ctx, s.id); !errors.Is(err, s.want) {
			t.Errorf("%s: %v; want %v", s.name, err, s.want)
		}
	}
	// It runs for an instant now and then, ever more seldom; then the answer is another one.
	until(t, "a pause meets it between two tries", func() bool {
		err := h.Pause(ctx, "crashing")
		if err == nil {
			err = h.Unpause(ctx, "crashing")
		}
		return errors.Is(err, docker.ErrRestarting)
	})
	until(t, "an exec meets it between two tries", func() bool { return errors.Is(exec(ctx, "crashing"), docker.ErrRestarting) })
}

func TestEngineStopsMeanwhile(t *testing.T) {
	h := start(t, "--live-restore")
	id := h.Run(t, "one", testhost.RunOptions{})
	ctx := within(t, 60*time.Second)
	if err := h.Pause(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Unpause(ctx, id); !errors.Is(err, docker.ErrUnavailable) {
		t.Errorf("unpause without an engine: %v; want ErrUnavailable", err)
	}
	if err := h.Engine.Start(); err != nil {
		t.Fatal(err)
	}
	if c, err := h.Inspect(ctx, id); err != nil || !c.Paused {
		t.Errorf("after the restart: paused %v, %v", c.Paused, err)
	}
	if err := h.Unpause(ctx, id); err != nil {
		t.Error(err)
	}
}

func TestEngineDiesDuringACall(t *testing.T) {
	h := start(t, "--live-restore")
	h.Run(t, "one", testhost.RunOptions{})
	done := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		_, err := h.Exec(within(t, 30*time.Second), "one", []string{"/usr/bin/busybox", "sleep", "1000"}, docker.ExecOptions{})
		done <- err
	}()
	<-started
	untilProcess(t, "sleep\x001000\x00")
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, docker.ErrUnavailable) {
		t.Errorf("exec: %v; want ErrUnavailable", err)
	}
	if err := h.Engine.Start(); err != nil {
		t.Fatal(err)
	}
}

// What other engines say, and what this one says under a load that no test can rely on.
func TestClassifyAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		text   string
		want   error
	}{
		{"cgroup v1", 500, "Cannot pause container abc: OCI runtime pause failed: unable to freeze: unknown", docker.ErrCannotFreeze},
		{"cgroup v2", 500, "cannot pause container abc: OCI runtime pause failed: timeout of 2s reached waiting for the cgroup to freeze", docker.ErrCannotFreeze},
		{"just ended", 500, "cannot pause container abc: OCI runtime pause failed: container not running", docker.ErrNotRunning},
		{"28", 409, "container abc is not running", docker.ErrNotRunning},
		{"starting up", 503, "starting", docker.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := answers(t, tt.status, `{"message":"`+tt.text+`"}`)
			if err := c.Pause(within(t, 5*time.Second), "abc"); !errors.Is(err, tt.want) {
				t.Errorf("%v; want %v", err, tt.want)
			}
		})
	}
	c := answers(t, http.StatusInternalServerError, "<html>not JSON")
	if err := c.Pause(within(t, 5*time.Second), "abc"); err == nil || errors.Is(err, docker.ErrUnavailable) {
		t.Error(err)
	}
}

func TestContextEndIsNotUnavailable(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := h.Pause(ctx, "one")
	if !errors.Is(err, context.Canceled) || errors.Is(err, docker.ErrUnavailable) {
		t.Error(err)
	}
}
