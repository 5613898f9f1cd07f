package driver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Pace is how a driver destroys many snapshots, so that whoever writes to the storage meanwhile is not held up for long.
type Pace struct {
	Batch int           // so many at a time, at least 1
	Rest  time.Duration // and so long others have the storage to themselves before the next
}

// Destroy calls destroy with one batch after the other. A batch that failed does not keep it from the next; the end of ctx
// does. The error has those of all batches.
func (p Pace) Destroy(ctx context.Context, s []Snapshot, destroy func(context.Context, []Snapshot) error) error {
	var failed []error
	for len(s) > 0 {
		n := min(p.Batch, len(s))
		failed = append(failed, destroy(ctx, s[:n]))
		s = s[n:]
		if len(s) == 0 {
			break
		}
		if err := p.rest(ctx); err != nil {
			failed = append(failed, fmt.Errorf("destroy: %w", err))
			break
		}
	}
	return errors.Join(failed...)
}

func (p Pace) rest(ctx context.Context) error {
	t := time.NewTimer(p.Rest)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
