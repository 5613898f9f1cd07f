package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/snapset"
)

// happened finds out, after the thaw, what the set's consistency depends on.
func (t *taking) happened(ctx context.Context) (snapset.Taking, error) {
	what := snapset.Taking{
		Instants: t.plan.instants(), InOrder: !t.plan.covering, Checkpoint: len(t.steps.postgres) > 0,
	}
	if !t.plan.pausing {
		return what, nil
	}
	ran, err := t.ran(ctx)
	if err != nil {
		return what, err
	}
	what.WritersHeld = len(ran) == 0
	t.ranMeanwhile = ran
	return what, nil
}

// ran lists the containers that can write to the app's volumes and were not shown to have been held while the snapshots were
// made. Docker is asked again, since containers may have been started, restarted or let go meanwhile.
func (t *taking) ran(ctx context.Context) ([]string, error) {
	events, err := t.engine.Docker.Events(ctx, t.steps.looked, time.Now())
	if err != nil {
		return nil, err
	}
	var ran []string
	held := map[string]bool{}
	for _, c := range t.pause.Containers {
		if c.Kind != quiesce.KindPause {
			continue
		}
		held[c.ID] = c.Held || c.Ended && endedQuietly(c, events)
		if !held[c.ID] {
			ran = append(ran, c.Name)
		}
	}
	now, err := inventory.Writers(ctx, t.engine.Docker, hostPaths(t.plan))
	if err != nil {
		return nil, err
	}
	writes := map[string]bool{}
	for _, w := range now {
		writes[w.ID] = true
		if since, ok := t.steps.still[w.ID]; ok && (w.Paused || w.Restarting) && since.Equal(w.StartedAt) {
			held[w.ID] = true
		}
		if !held[w.ID] && w.StartedAt.Before(t.last) {
			ran = append(ran, w.Name)
		}
	}
	for _, ev := range events {
		if !ev.Time.Before(t.last) || !ev.Starts() {
			continue // after the snapshots, or no start
		}
		switch id := ev.ContainerID; {
		case held[id] && t.steps.still[id].IsZero() && ev.Time.Before(t.pause.Start):
			continue // and we paused it after that
		case !held[id] && !writes[id] && t.runs(ctx, id):
			continue // and does not write
		}
		ran = append(ran, ev.Name) // one that has ended since may have written
	}
	slices.Sort(ran)
	return slices.Compact(ran), nil
}

// endedQuietly is that a container that ended while it was held did so without another step. Docker lets a paused container
// go to deliver a signal, so after any but SIGKILL it may have written. An engine that was restarted meanwhile has forgotten
// what happened, the end too.
func endedQuietly(c quiesce.ContainerPause, events []docker.Event) bool {
	died := false
	for _, ev := range events {
		if ev.ContainerID != c.ID || ev.Time.Before(c.Start) {
			continue
		}
		switch ev.Action {
		case "die":
			died = true
		case "kill", "unpause":
			return false
		}
	}
	return died
}

func (t *taking) runs(ctx context.Context, id string) bool {
	c, err := t.engine.Docker.Inspect(ctx, id)
	return err == nil && c.Running
}

// manifest records what happened. It refuses when not_older_than could not be shown.
func (t *taking) manifest(what snapset.Taking, opt TakeOptions) (*snapset.Manifest, error) {
	m := &snapset.Manifest{
		ID: t.id, App: t.plan.App.Name, Label: opt.Label, Created: t.id.Time(), Complete: true, Consistency: what.Class(),
		Pins: []string{}, Bases: []string{}, PauseMS: milliseconds(t.pause.Took()), Containers: []snapset.ContainerPause{}, Checkpoints: []snapset.Checkpoint{},
		Guard: opt.guard,
	}
	for _, c := range t.pause.Containers {
		m.Containers = append(m.Containers, snapset.ContainerPause{Name: c.Name, Step: string(c.Kind), PausedMS: milliseconds(c.End.Sub(c.Start))})
	}
	for _, pg := range t.steps.postgres {
		m.Checkpoints = append(m.Checkpoints, snapset.Checkpoint{Container: pg.Container.Name, LSN: pg.LSN, TookMS: milliseconds(pg.Took)})
	}
	at := map[string]int{}
	for _, s := range t.snaps {
		for _, v := range s.Volumes {
			at[v.Name] = s.Member
		}
	}
	for _, s := range t.snaps {
		for _, member := range snapset.Members(s) {
			proof, err := prove(what, at, member)
			if err != nil {
				return nil, fmt.Errorf("%w (these ran meanwhile: %q)", err, t.ranMeanwhile)
			}
			member.OrderedBy = proof
			m.Members = append(m.Members, member)
		}
	}
	return m, nil
}

func prove(what snapset.Taking, at map[string]int, m snapset.Member) (by snapset.OrderedBy, err error) {
	for _, other := range m.NotOlderThan {
		by = what.Proof(at[m.Volume], at[other])
		if by == "" {
			return "", fmt.Errorf("%w: volume %s must not be older than %s", ErrUnproved, m.Volume, other)
		}
	}
	return by, nil
}

func hostPaths(p *Plan) []string {
	var paths []string
	for _, m := range p.Members {
		paths = append(paths, m.HostPath)
	}
	return paths
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
