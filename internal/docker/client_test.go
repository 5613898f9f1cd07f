package docker_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

func TestNewTakesOnlyLocalSockets(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///from/env")
	for host, want := range map[string]string{"": "unix:///from/env", "unix:///a b/c": "unix:///a b/c"} {
		c, err := docker.New(host)
		if err != nil || c.Host() != want {
			t.Errorf("New(%q) = %v, %v; want host %q", host, c, err, want)
		}
	}
	for _, host := range []string{"tcp://10.0.0.1:2375", "ssh://a@b", "unix://", "unix://relative", "/run/docker.sock"} {
		if c, err := docker.New(host); err == nil {
			t.Errorf("New(%q) = %s", host, c.Host())
		}
	}
}

func TestNoEngineIsUnavailable(t *testing.T) {
	silent := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{"/nonexistent/docker.sock", silent, "/etc/passwd"} {
		c := client(t, "unix://"+socket)
		calls := map[string]func(context.Context) error{
			"ping":    c.Ping,
			"list":    func(ctx context.Context) error { _, err := c.Containers(ctx, true); return err },
			"volumes": func(ctx context.Context) error { _, err := c.Volumes(ctx); return err },
			"pause":   func(ctx context.Context) error { return c.Pause(ctx, "x") },
			"exec": func(ctx context.Context) error {
				_, err := c.Exec(ctx, "x", []string{"true"}, docker.ExecOptions{})
				return err
			},
			"events": func(ctx context.Context) error { _, err := c.Events(ctx, time.Now(), time.Now()); return err },
		}
		for name, call := range calls {
			if err := call(within(t, 5*time.Second)); !errors.Is(err, docker.ErrUnavailable) {
				t.Errorf("%s at %s: %v; want ErrUnavailable", name, socket, err)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	h := start(t)
	dir := filepath.Join(t.TempDir(), "with space")
	begun := time.Now()
	h.Docker(t, "volume", "create", "--label", "a=b", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/tmp", "bound")
	id := h.Run(t, "one", testhost.RunOptions{Flags: []string{
		"-v", "bound:/vol", "-v", dir + ":/dir:ro", "--tmpfs", "/scratch", "--label", "x=y", "-e", "A=1", "--restart", "always",
		"--health-cmd", "/usr/bin/busybox true", "--health-interval", "1h",
	}})
	h.Run(t, "two", testhost.RunOptions{Flags: []string{"--health-cmd", "none", "--no-healthcheck=false"}})
	h.Docker(t, "pause", "two")
	h.Docker(t, "create", "--name", "three", testhost.ImageName, "/nothing")
	ctx := within(t, 10*time.Second)

	running, err := h.Containers(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.Containers(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, names(running)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one", "three", "two"}, names(all)); diff != "" {
		t.Error(diff)
	}
	one := all[0]
	if one.PID <= 0 || one.StartedAt.Before(begun) || one.StartedAt.After(time.Now()) || one.ImageID == "" {
		t.Errorf("pid %d, started %s, image %q", one.PID, one.StartedAt, one.ImageID)
	}
	want := docker.Container{
		ID: id, Name: "one", Labels: map[string]string{"x": "y"}, Image: testhost.ImageName, State: "running", Running: true,
		Env: []string{"A=1"}, HasHealthcheck: true, RestartPolicy: "always",
		Mounts: []docker.Mount{
			{Type: "bind", Source: dir, Destination: "/dir"},
			{Type: "bind", Source: "/usr", Destination: "/usr"},
			{Type: "volume", Name: "bound", Source: filepath.Join(h.Engine.DataRoot, "volumes/bound/_data"), Destination: "/vol", RW: true},
		},
	}
	if diff := cmp.Diff(want, one, cmpopts.IgnoreFields(docker.Container{}, "PID", "StartedAt", "ImageID")); diff != "" {
		t.Error(diff)
	}
	if two := all[2]; !two.Paused || !two.Running || two.State != "paused" {
		t.Errorf("two: %+v", two)
	}
	if three := all[1]; three.Running || !three.StartedAt.IsZero() || three.State != "created" || three.HasHealthcheck {
		t.Errorf("three: %+v", three)
	}
	volumes, err := h.Volumes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantVolumes := []docker.Volume{{
		Name: "bound", Driver: "local", Mountpoint: filepath.Join(h.Engine.DataRoot, "volumes/bound/_data"),
		Options: map[string]string{"type": "none", "o": "bind", "device": "/tmp"}, Labels: map[string]string{"a": "b"},
	}}
	if diff := cmp.Diff(wantVolumes, volumes); diff != "" {
		t.Error(diff)
	}
	if v, err := h.Volume(ctx, "bound"); err != nil || !cmp.Equal(v, volumes[0]) {
		t.Errorf("Volume: %+v, %v", v, err)
	}
	if _, err := h.Volume(ctx, "no such"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("Volume: %v; want ErrNotFound", err)
	}
}

func names(all []docker.Container) []string {
	var n []string
	for _, c := range all {
		n = append(n, c.Name)
	}
	return n
}

func TestEvents(t *testing.T) {
	h := start(t)
	h.Run(t, "before", testhost.RunOptions{})
	since := time.Now()
	id := h.Run(t, "one", testhost.RunOptions{})
	h.Docker(t, "exec", "one", "/usr/bin/busybox", "true")
	h.Docker(t, "pause", "one")
	h.Docker(t, "unpause", "one")
	h.Docker(t, "restart", "one")
	h.Docker(t, "pause", "one")
	h.Docker(t, "kill", "one") // SIGKILL: nothing of it runs any more
	h.Run(t, "drill", testhost.RunOptions{Flags: []string{"--label", docker.LabelDrill + "=token"}})
	until := time.Now()
	h.Run(t, "after", testhost.RunOptions{})
	got, err := h.Events(within(t, 5*time.Second), since, until)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range got {
		actions = append(actions, e.Action)
		if e.ContainerID != id || e.Name != "one" || e.Time.Before(since) || e.Time.After(until) {
			t.Errorf("%+v", e)
		}
	}
	if diff := cmp.Diff([]string{"start", "pause", "unpause", "die", "start", "restart", "pause", "die"}, actions); diff != "" {
		t.Error(diff)
	}
}
