package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/volsnap/volsnap/internal/fault"
)

// ErrForeign is what a container of somebody else is: it has the name of a throw-away one, and not its label.
var ErrForeign = errors.New("not made by volsnap")

// LabelDrill is the label of a drill's containers. What they can write to is a clone, or in memory: no run waits for them.
const LabelDrill = "io.volsnap.drill"

// Throwaway is a container that is made for one purpose and then removed. It has no network and no capabilities, is never
// restarted, gains no rights, and is the first to go when memory runs out. Its processor share is a small one.
type Throwaway struct {
	Name   string
	Image  string   // name or id
	Argv   []string // the program, which is found by the PATH in Env, and its arguments
	Env    []string
	User   string // "UID:GID"
	Labels map[string]string
	Mounts []ThrowawayMount
	Shm    int64 // bytes of /dev/shm; 0: the engine's default
}

// ThrowawayMount is a bind mount, or without a Source a file system in memory that everybody may write to.
type ThrowawayMount struct {
	Source, Destination string
	ReadOnly            bool
}

const (
	lowShares   = 128  // of processor time; others have 1024
	firstToDie  = 1000 // see proc_pid_oom_score_adj(5)
	everybodys  = 0o1777
	logLimit    = 4000 // lines
	removeLimit = time.Minute
)

// Template is what another container is made like.
type Template struct {
	Argv []string // entry point and command
	Shm  int64
}

// Template says how a container was made.
func (c *Client) Template(ctx context.Context, id string) (Template, error) {
	r, err := c.api.ContainerInspect(ctx, id)
	if err != nil {
		return Template{}, wrap("inspect container "+id, err)
	}
	var t Template
	if r.Config != nil {
		t.Argv = append(append([]string{}, r.Config.Entrypoint...), r.Config.Cmd...)
	}
	if r.ContainerJSONBase != nil && r.HostConfig != nil {
		t.Shm = r.HostConfig.ShmSize
	}
	return t, nil
}

// CreateThrowaway makes one, which does not run yet. ErrNotFound: the engine does not have the image.
func (c *Client) CreateThrowaway(ctx context.Context, t Throwaway) (id string, err error) {
	fault.Point("before create of a container")
	defer fault.Point("after create of a container")
	created, err := c.api.ContainerCreate(ctx, &container.Config{
		Image: t.Image, Entrypoint: t.Argv[:1], Cmd: t.Argv[1:], Env: t.Env, User: t.User, Labels: t.Labels, WorkingDir: "/",
		NetworkDisabled: true, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, StopSignal: "SIGKILL",
	}, &container.HostConfig{
		NetworkMode: "none", RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}, ShmSize: t.Shm,
		CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, OomScoreAdj: firstToDie, Mounts: t.mounts(),
		Resources: container.Resources{CPUShares: lowShares},
	}, nil, nil, t.Name)
	return created.ID, wrap("create container "+t.Name, err)
}

func (t Throwaway) mounts() []mount.Mount {
	all := make([]mount.Mount, 0, len(t.Mounts))
	for _, m := range t.Mounts {
		one := mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Destination, ReadOnly: m.ReadOnly}
		if m.Source == "" {
			one = mount.Mount{Type: mount.TypeTmpfs, Target: m.Destination, TmpfsOptions: &mount.TmpfsOptions{Mode: os.FileMode(everybodys)}}
		}
		all = append(all, one)
	}
	return all
}

// StartThrowaway starts it.
func (c *Client) StartThrowaway(ctx context.Context, id string) error {
	fault.Point("before start of a container")
	defer fault.Point("after start of a container")
	return wrap("start container "+id, c.api.ContainerStart(ctx, id, container.StartOptions{}))
}

// AwaitEnd returns the exit status of a container once it does not run.
func (c *Client) AwaitEnd(ctx context.Context, id string) (int, error) {
	ended, failed := c.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		if end.Error != nil {
			return 0, fmt.Errorf("wait for container %s: %s", id, end.Error.Message)
		}
		return int(end.StatusCode), nil
	case err := <-failed:
		return 0, wrap("wait for container "+id, err)
	}
}

// Signal sends a signal, such as "SIGINT", to the first process of a container.
func (c *Client) Signal(ctx context.Context, id, signal string) error {
	return wrap("signal container "+id, c.api.ContainerKill(ctx, id, signal))
}

// Logs is the end of what a container has printed, at most 1 MiB of each stream.
func (c *Client) Logs(ctx context.Context, id string) (stdout, stderr string, err error) {
	r, err := c.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(logLimit)})
	if err != nil {
		return "", "", wrap("read the log of container "+id, err)
	}
	defer func() { _ = r.Close() }()
	var out, errs bounded
	if _, err := stdcopy.StdCopy(&out, &errs, r); err != nil {
		return "", "", fmt.Errorf("read the log of container %s: %w", id, err)
	}
	return out.String(), errs.String(), nil
}

// RemoveThrowaway kills and removes the container of that name, with its anonymous volumes, if it has the label. That there is
// none is no error. ErrForeign: it has not.
func (c *Client) RemoveThrowaway(ctx context.Context, name, label, value string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	one, err := c.Inspect(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case one.Labels[label] != value:
		return fmt.Errorf("remove container %s: %w: it has no label %s=%s", name, ErrForeign, label, value)
	}
	fault.Point("before removal of a container")
	defer fault.Point("after removal of a container")
	return c.remove(ctx, one.ID)
}

// remove waits for a removal that somebody else has begun.
func (c *Client) remove(ctx context.Context, id string) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := wrap("remove container "+id, c.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true}))
		if err != nil && !errors.Is(err, ErrNotFound) && ctx.Err() != nil {
			return err
		}
		if _, gone := c.Inspect(ctx, id); errors.Is(gone, ErrNotFound) {
			return nil
		}
		if waited := wait(ctx, pause); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

// ExecTo is Exec for a command that prints more than Exec keeps: it goes to stdout. The context's end closes the connection and
// leaves the command to the removal of its container.
func (c *Client) ExecTo(ctx context.Context, id string, argv []string, opts ExecOptions, stdout io.Writer) (ExecResult, error) {
	what := fmt.Sprintf("exec %s in container %s", argv[0], id)
	e, err := c.api.ContainerExecCreate(ctx, id, container.ExecOptions{
		User: opts.User, Env: opts.Env, Cmd: argv, AttachStdin: opts.Stdin != "", AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return ExecResult{}, wrap(what, err)
	}
	var stderr bounded
	if err := c.attach(ctx, e.ID, opts.Stdin, stdout, &stderr); err != nil {
		return ExecResult{Stderr: stderr.String()}, wrap(what, errors.Join(c.refused(ctx, id, err), ctx.Err()))
	}
	r := ExecResult{Stderr: stderr.String(), Truncated: stderr.cut}
	r.Exit, err = c.exitStatus(ctx, e.ID)
	return r, wrap(what, err)
}
