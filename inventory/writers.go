package inventory

import (
	"context"
	"slices"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Writer is a running container that can write to paths of an app.
type Writer struct {
	ID, Name, Image string
	StartedAt       time.Time
	PID             int
	Paused          bool // somebody paused it: it holds still already, and is not ours to thaw
	Restarting      bool // between two tries; it cannot be paused
	HasHealthcheck  bool
	Writes          []string // of the paths that were asked about, in their order
}

// Writers are the running containers, paused and restarting ones among them, that can write to any of the paths, sorted
// by name: those with a writable volume or bind mount that is such a path, lies inside it or holds it, under whatever
// name. Mounts that the kernel would not let them reach after all are counted too.
func Writers(ctx context.Context, d Docker, paths []string) ([]Writer, error) {
	containers, err := d.Containers(ctx, false)
	if err != nil {
		return nil, err
	}
	volumes, err := d.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	host, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	watched := make([]place, 0, len(paths))
	for _, p := range paths {
		watched = append(watched, locate(p, host))
	}
	var writers []Writer
	for _, c := range containers {
		var writes []string
		held := writable(c, volumes, host)
		for i, w := range watched {
			if slices.ContainsFunc(held, w.overlaps) {
				writes = append(writes, paths[i])
			}
		}
		if len(writes) > 0 {
			writers = append(writers, writer(c, writes))
		}
	}
	return writers, nil
}

func writer(c docker.Container, writes []string) Writer {
	return Writer{
		ID: c.ID, Name: c.Name, Image: c.Image, StartedAt: c.StartedAt, PID: c.PID, Paused: c.Paused, Restarting: c.Restarting,
		HasHealthcheck: c.HasHealthcheck, Writes: writes,
	}
}

// writable are the places on this host that a container can write to. A volume that its options bind elsewhere counts
// there too: what the engine tells of the mount is only where it shows that volume.
func writable(c docker.Container, volumes []docker.Volume, host []mountinfo.Mount) []place {
	var places []place
	for _, m := range c.Mounts {
		if !m.RW || m.Source == "" || m.Type == "tmpfs" {
			continue
		}
		places = append(places, locate(m.Source, host))
		for _, v := range volumes {
			if m.Name != "" && v.Name == m.Name && isBind(v.Options) {
				places = append(places, locate(v.Options["device"], host))
			}
		}
	}
	return places
}
