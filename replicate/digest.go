package replicate

import (
	"context"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
)

// DigestOf reads all that a snapshot holds, which it mounts below dir for that time.
func DigestOf(ctx context.Context, by driver.Mounter, s driver.Snapshot, dir string) (out tree.Digest, err error) {
	err = driver.Look(ctx, by, s, dir, func(at string) error {
		out, err = tree.Of(ctx, at)
		return err
	})
	return out, err
}
