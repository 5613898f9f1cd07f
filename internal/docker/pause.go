package docker

import (
	"context"

	"github.com/volsnap/volsnap/internal/fault"
)

// Pause freezes all processes of a running container. ErrAlreadyPaused, ErrNotRunning, ErrRestarting, ErrNotFound and
// ErrCannotFreeze: it was not frozen by this call. Any other error, the context's and ErrUnavailable among them, leaves
// it open whether the engine still freezes it: ask Inspect, and again a little later.
func (c *Client) Pause(ctx context.Context, id string) error {
	fault.Point("before pause")
	defer fault.Point("after pause")
	return wrap("pause container "+id, c.api.ContainerPause(ctx, id))
}

// Unpause lets a paused container go on. ErrNotPaused: it was not paused, which is what one wanted. ErrNotFound and
// ErrNotRunning: there is nothing to let go.
func (c *Client) Unpause(ctx context.Context, id string) error {
	fault.Point("before unpause")
	defer fault.Point("after unpause")
	return wrap("unpause container "+id, c.api.ContainerUnpause(ctx, id))
}
