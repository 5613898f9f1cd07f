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
// name. Mounts that the kernel would not let them reach after all are counted too. A drill's are not among them: they write to clones.
func Writers(ctx context.Context, d Docker, paths []string) ([]Writer, error) {
	var writers []Writer
	err := holders(ctx, d, false, paths, place.overlapsWritable, func(c docker.Container, writes []string) {
		writers = append(writers, writer(c, writes))
	})
	return writers, err
}

// Users are the writers of any of the paths and those running containers besides that have one of them, or something in it, as
// a volume or bind mount of its own: they would go on to see what was there when they were started, whatever is put in its place.
func Users(ctx context.Context, d Docker, paths []string) ([]docker.Container, error) {
	var users []docker.Container
	err := holders(ctx, d, false, paths, place.isUsedBy, func(c docker.Container, _ []string) { users = append(users, c) })
	return users, err
}

// Idle are those containers that would be Users, do not run, and may be started by the engine together with itself.
func Idle(ctx context.Context, d Docker, paths []string) ([]docker.Container, error) {
	var idle []docker.Container
	err := holders(ctx, d, true, paths, place.isUsedBy, func(c docker.Container, _ []string) {
		restarts := c.RestartPolicy != "" && c.RestartPolicy != "no"
		if restarts && !c.Running && (c.State == "exited" || c.State == "created") {
			idle = append(idle, c)
		}
	})
	return idle, err
}

// held is a place on this host that a container has.
type held struct {
	place
	writable bool
}

func (p place) overlapsWritable(m held) bool { return m.writable && p.overlaps(m.place) }

func (p place) isUsedBy(m held) bool { return p.overlapsWritable(m) || m.within(p) }

// holders calls fn with each running container, or each of all, that holds any of the paths in the sense of holds, and which.
func holders(
	ctx context.Context, d Docker, all bool, paths []string, holds func(watched place, m held) bool, fn func(docker.Container, []string),
) error {
	containers, err := d.Containers(ctx, all)
	if err != nil {
		return err
	}
	volumes, err := d.Volumes(ctx)
	if err != nil {
		return err
	}
	host, err := mountinfo.Read()
	if err != nil {
		return err
	}
	watched := make([]place, 0, len(paths))
	for _, p := range paths {
		watched = append(watched, locate(p, host))
	}
	for _, c := range containers {
		if _, drill := c.Labels[docker.LabelDrill]; drill {
			continue
		}
		var its []string
		has := heldBy(c, volumes, host)
		for i, w := range watched {
			if slices.ContainsFunc(has, func(m held) bool { return holds(w, m) }) {
				its = append(its, paths[i])
			}
		}
		if len(its) > 0 {
			fn(c, its)
		}
	}
	return nil
}

func writer(c docker.Container, writes []string) Writer {
	return Writer{
		ID: c.ID, Name: c.Name, Image: c.Image, StartedAt: c.StartedAt, PID: c.PID, Paused: c.Paused, Restarting: c.Restarting,
		HasHealthcheck: c.HasHealthcheck, Writes: writes,
	}
}

// heldBy are the places on this host that a container has. A volume that its options bind elsewhere counts there too: what the
// engine tells of the mount is only where it shows that volume.
func heldBy(c docker.Container, volumes []docker.Volume, host []mountinfo.Mount) []held {
	var all []held
	for _, m := range c.Mounts {
		if m.Source == "" || m.Type == "tmpfs" {
			continue
		}
		all = append(all, held{locate(m.Source, host), m.RW})
		for _, v := range volumes {
			if m.Name != "" && v.Name == m.Name && isBind(v.Options) {
				all = append(all, held{locate(v.Options["device"], host), m.RW})
			}
		}
	}
	return all
}
