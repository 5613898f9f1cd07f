package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Event is something that happened to a container.
type Event struct {
	ContainerID, Name string
	Action            string // start, restart, pause, unpause, die, or kill: it was sent another signal than SIGKILL
	Time              time.Time
}

// Starts reports whether the event is one after which a container runs that may not have run before.
func (e Event) Starts() bool {
	return e.Action == "start" || e.Action == "restart" || e.Action == "unpause"
}

// Events are those between two moments, oldest first; until may not lie ahead, so it returns at once. The engine keeps its
// last 256 events of any kind and forgets them when it restarts: what is told happened, but what is not told may have
// happened too. Compare StartedAt where that matters. Those of a drill's containers (LabelDrill) are left out.
func (c *Client) Events(ctx context.Context, since, until time.Time) ([]Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the goroutine that reads the answer
	only := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, a := range []events.Action{
		events.ActionStart, events.ActionRestart, events.ActionPause, events.ActionUnPause, events.ActionDie, events.ActionKill,
	} {
		only.Add("event", string(a))
	}
	messages, errs := c.api.Events(ctx, events.ListOptions{Since: stamp(since), Until: stamp(until), Filters: only})
	var found []Event
	for {
		select {
		case m := <-messages:
			if _, drill := m.Actor.Attributes[LabelDrill]; drill { // the attributes are the labels, too
				continue
			}
			if m.Action == events.ActionKill && m.Actor.Attributes["signal"] == "9" {
				continue
			}
			found = append(found, Event{
				ContainerID: m.Actor.ID, Name: m.Actor.Attributes["name"], Action: string(m.Action), Time: time.Unix(0, m.TimeNano).UTC(),
			})
		case err := <-errs:
			if errors.Is(err, io.EOF) {
				return found, nil
			}
			return nil, wrap("list events", err)
		}
	}
}

// stamp is a time as the events call takes it: seconds and nanoseconds.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
