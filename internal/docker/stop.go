package docker

import (
	"context"
	"errors"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"

	"github.com/volsnap/volsnap/internal/fault"
)

// Stop stops a container and waits for its end: by its own stop signal, and by SIGKILL after seconds, or after its own time limit if
// that is 0. One that is not running stays as it is. ErrNotFound.
func (c *Client) Stop(ctx context.Context, id string, seconds int) error {
	fault.Point("before stop")
	defer fault.Point("after stop")
	opts := container.StopOptions{}
	if seconds > 0 {
		opts.Timeout = &seconds
	}
	return wrap("stop container "+id, c.api.ContainerStop(ctx, id, opts))
}

// Start starts a container; one that runs stays as it is. ErrNotFound.
func (c *Client) Start(ctx context.Context, id string) error {
	fault.Point("before start")
	defer fault.Point("after start")
	return wrap("start container "+id, c.api.ContainerStart(ctx, id, container.StartOptions{}))
}

// RestartPolicy is when the engine starts a container by itself.
type RestartPolicy struct {
	Name  string `json:"name"` // no, always, on-failure, unless-stopped
	Tries int    `json:"tries,omitempty"`
}

const (
	updateLimit = 5 * time.Second
	updatePause = 20 * time.Millisecond
)

// SetRestart sets the restart policy of a container. ErrNotFound. ErrCannotUpdate: it was tried for some seconds. One whose process
// ends again and again, as after an upgrade that failed, made the engine refuse one call in ten (20.10).
func (c *Client) SetRestart(ctx context.Context, id string, p RestartPolicy) error {
	fault.Point("before restart policy")
	defer fault.Point("after restart policy")
	for end := time.Now().Add(updateLimit); ; {
		_, err := c.api.ContainerUpdate(ctx, id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{
			Name: container.RestartPolicyMode(p.Name), MaximumRetryCount: p.Tries,
		}})
		err = wrap("set the restart policy of container "+id, err)
		if !errors.Is(err, ErrCannotUpdate) || time.Now().After(end) || wait(ctx, updatePause) != nil {
			return err
		}
	}
}

// CreateVolume makes a volume of the driver "local". One that is there already is no error of the engine's: look before.
func (c *Client) CreateVolume(ctx context.Context, v Volume) error {
	_, err := c.api.VolumeCreate(ctx, volume.CreateOptions{Name: v.Name, Driver: "local", DriverOpts: v.Options, Labels: v.Labels})
	return wrap("create volume "+v.Name, err)
}

// RemoveVolume removes a volume; that there is none is no error. The engine deletes what lies in its directory, unless its
// options bind it elsewhere.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	err := wrap("remove volume "+name, c.api.VolumeRemove(ctx, name, false))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
