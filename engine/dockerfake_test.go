package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
)

// containers is a Docker engine with containers that do nothing.
type containers struct {
	mu    sync.Mutex
	all   map[string]*docker.Container
	has   []docker.Volume
	root  string // DataRoot
	calls []string
	hook  func(call string, n int) error // before each call that changes something; n counts them from 1
}

func (d *containers) enter(call, id string) (*docker.Container, error) {
	d.calls = append(d.calls, call+" "+id)
	if d.hook != nil {
		if err := d.hook(call+" "+id, len(d.calls)); err != nil {
			return nil, err
		}
	}
	c := d.all[id]
	if c == nil {
		return nil, docker.ErrNotFound
	}
	return c, nil
}

func (d *containers) change(call, id string, fn func(*docker.Container)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.enter(call, id)
	if err == nil {
		fn(c)
	}
	return err
}

// add makes a container that runs, and has a volume.
func (d *containers) add(name, restart string, paths ...string) {
	c := &docker.Container{ID: name, Name: name, State: "running", Running: true, RestartPolicy: restart}
	for _, path := range paths {
		c.Mounts = append(c.Mounts, docker.Mount{Type: "bind", Source: path, Destination: "/data", RW: true})
	}
	d.all[name] = c
}

func (d *containers) is(name string) docker.Container {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.all[name]
}

func (d *containers) Containers(_ context.Context, all bool) ([]docker.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []docker.Container
	for _, c := range d.all {
		if all || c.Running {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b docker.Container) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (d *containers) Inspect(_ context.Context, id string) (docker.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.all[id]; c != nil {
		return *c, nil
	}
	return docker.Container{}, docker.ErrNotFound
}

func (d *containers) Stop(_ context.Context, id string, _ int) error {
	return d.change("stop", id, func(c *docker.Container) { c.Running, c.State = false, "exited" })
}

func (d *containers) Start(_ context.Context, id string) error {
	return d.change("start", id, func(c *docker.Container) { c.Running, c.State = true, "running" })
}

func (d *containers) SetRestart(_ context.Context, id string, p docker.RestartPolicy) error {
	return d.change("restart "+p.Name, id, func(c *docker.Container) { c.RestartPolicy, c.RestartTries = p.Name, p.Tries })
}

var errNotInTests = errors.New("this engine does not do that")

func (d *containers) Volumes(context.Context) ([]docker.Volume, error) { return d.has, nil }
func (d *containers) Volume(_ context.Context, name string) (docker.Volume, error) {
	for _, v := range d.has {
		if v.Name == name {
			return v, nil
		}
	}
	return docker.Volume{}, docker.ErrNotFound
}
func (*containers) CreateVolume(context.Context, docker.Volume) error { return errNotInTests }
func (*containers) RemoveVolume(context.Context, string) error        { return errNotInTests }
func (d *containers) DataRoot(context.Context) (string, error)        { return d.root, nil }
func (*containers) Pause(context.Context, string) error               { return errNotInTests }
func (*containers) Unpause(context.Context, string) error             { return errNotInTests }
func (*containers) Events(context.Context, time.Time, time.Time) ([]docker.Event, error) {
	return nil, nil
}

func (*containers) Exec(context.Context, string, []string, docker.ExecOptions) (docker.ExecResult, error) {
	return docker.ExecResult{}, errNotInTests
}

func (d *containers) Image(_ context.Context, name string) (docker.Image, error) {
	return docker.Image{}, fmt.Errorf("image %s: %w", name, docker.ErrNotFound)
}
