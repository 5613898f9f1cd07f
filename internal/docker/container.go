package docker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
)

// Container is one container as the engine described it at one moment.
type Container struct {
	ID             string // 64 hex digits
	Name           string // without the slash
	Labels         map[string]string
	Image, ImageID string // as it was asked for, "postgres:15.1"; "sha256:..."
	State          string // the engine's word: created, running, paused, restarting, removing, exited, dead
	Running        bool   // also true of paused and restarting ones
	Paused         bool
	Restarting     bool      // between two tries of its restart policy
	StartedAt      time.Time // zero if never
	PID            int       // of its first process on this host, 0 if there is none
	Env            []string  // with what the image sets
	HasHealthcheck bool
	RestartPolicy  string // "no", "always", "on-failure", "unless-stopped"
	RestartTries   int    // of "on-failure"; 0: without end
	Restarts       int    // how often the policy has started it again since it was last started otherwise
	AutoRemove     bool   // the engine removes it when it stops
	StopTimeout    int    // seconds between its stop signal and SIGKILL; 0: the engine's, which is 10
	Mounts         []Mount
}

// Mount is a volume or directory in a container.
type Mount struct {
	Type        string // bind, volume, tmpfs, ...
	Name        string // of the volume, or empty
	Source      string // on this host, not resolved
	Destination string // in the container
	RW          bool
}

// Containers describes the running containers, paused and restarting ones among them, or all, sorted by name. One that is
// removed meanwhile is left out.
func (c *Client) Containers(ctx context.Context, all bool) ([]Container, error) {
	listed, err := c.api.ContainerList(ctx, container.ListOptions{All: all})
	if err != nil {
		return nil, wrap("list containers", err)
	}
	found := make([]*Container, len(listed))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, l := range listed {
		g.Go(func() error {
			one, err := c.Inspect(ctx, l.ID)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			found[i] = &one
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var containers []Container
	for _, one := range found {
		if one != nil && (all || one.Running) {
			containers = append(containers, *one)
		}
	}
	slices.SortFunc(containers, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return containers, nil
}

// Inspect describes one container by name or id. ErrNotFound: there is none.
func (c *Client) Inspect(ctx context.Context, name string) (Container, error) {
	r, err := c.api.ContainerInspect(ctx, name)
	if err != nil {
		return Container{}, wrap("inspect container "+name, err)
	}
	return describe(r), nil
}

func describe(r container.InspectResponse) Container {
	c := Container{Mounts: mounts(r.Mounts)}
	if b := r.ContainerJSONBase; b != nil {
		c.ID, c.Name, c.ImageID, c.Restarts = b.ID, strings.TrimPrefix(b.Name, "/"), b.Image, b.RestartCount
		if b.HostConfig != nil {
			c.RestartPolicy, c.RestartTries = string(b.HostConfig.RestartPolicy.Name), b.HostConfig.RestartPolicy.MaximumRetryCount
			c.AutoRemove = b.HostConfig.AutoRemove
		}
		if s := b.State; s != nil {
			c.State, c.Running, c.Paused, c.Restarting, c.PID = s.Status, s.Running, s.Paused, s.Restarting, s.Pid
			c.StartedAt = startTime(s.StartedAt)
		}
	}
	if cfg := r.Config; cfg != nil {
		c.Labels, c.Image, c.Env = cfg.Labels, cfg.Image, cfg.Env
		if cfg.StopTimeout != nil {
			c.StopTimeout = *cfg.StopTimeout
		}
		c.HasHealthcheck = cfg.Healthcheck != nil && len(cfg.Healthcheck.Test) > 0 && cfg.Healthcheck.Test[0] != "NONE"
	}
	return c
}

// startTime is zero for a container that never started: the engine then says "0001-01-01T00:00:00Z".
func startTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func mounts(points []container.MountPoint) []Mount {
	var all []Mount
	for _, p := range points {
		all = append(all, Mount{Type: string(p.Type), Name: p.Name, Source: p.Source, Destination: p.Destination, RW: p.RW})
	}
	slices.SortFunc(all, func(a, b Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return all
}
