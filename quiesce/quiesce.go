// Package quiesce brings an app's containers to a consistent state, holds them for the moment of the snapshots, and lets
// them go on.
//
// # What is promised
//
// What Frozen paused runs again when Frozen returns, whether its function returned, failed, panicked, hung past the limit,
// or the context ended. A container that was paused, stopped or restarting already is left as it was. When the whole process
// is killed, the dead-man (DeadMan) thaws what the journal (Journal) names, and when that was killed too, Recover does: at
// the next run, by hand, after a boot.
//
// # One way to thaw
//
// A frozen thing is an Entry, noted in the journal before it is touched. Frozen, the dead-man and Recover all undo entries by
// the same code (thaw.go); no step has an undo of its own that could be forgotten.
//
// # Order
//
// Steps run as configured. Steps that hold nothing (a CHECKPOINT, flushing file systems) come before the first that does and
// do not count into the pause. The clock of the limit starts when the journal is armed. Entries are thawed in reverse.
package quiesce

import (
	"context"
	"errors"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
)

// ErrLimit says that the freeze limit passed before the function was done; all is thawed.
var ErrLimit = errors.New("the freeze limit passed")

// ErrNotHeld says that something which should have been frozen ran meanwhile.
var ErrNotHeld = errors.New("a container ran while it should have been paused")

// ErrStillFrozen says that a thaw did not succeed; the journal still names what is frozen.
var ErrStillFrozen = errors.New("still frozen")

// Docker is what freezing needs of a Docker engine.
type Docker interface {
	Inspect(ctx context.Context, idOrName string) (docker.Container, error)
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	Exec(ctx context.Context, id string, argv []string, opts docker.ExecOptions) (docker.ExecResult, error)
}

// Step brings something to a consistent state, or makes it hold still.
type Step interface {
	// Entries is what Freeze may leave frozen; nothing for a step that holds nothing. It is asked before any Freeze.
	Entries() []Entry
	// Freeze returns once the step is done: writes are on disk, or no more of them follow before the thaw. It tells h about
	// each of its entries before and after it touches it. It obeys ctx.
	Freeze(ctx context.Context, h *Hold) error
}

// Pause is what Frozen did.
type Pause struct {
	Start, End time.Time // from before the first pause to after the last thaw; both zero when nothing was held
	Containers []ContainerPause
}

// Took is how long the whole pause lasted.
func (p Pause) Took() time.Duration { return p.End.Sub(p.Start) }

// ContainerPause is how long one container was held.
type ContainerPause struct {
	ID, Name string
	Kind     Kind
	Start    time.Time // before it was asked to hold still
	End      time.Time // after it was let go
	Held     bool      // shown to have been held without a break until it was let go
	Ended    bool      // it ended while it was held; it wrote nothing, unless it was started again
}
