package zfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
)

// aloneRetry is how often is looked whether another process is done.
const aloneRetry = 5 * time.Millisecond

// alone waits until nobody else unseals or destroys snapshots of the same pools, until release is called. So what is claimed
// and busy is being sent, or built on, and not on the way out by another hand: that one is waited for, and then it is gone.
func (k *kept) alone(ctx context.Context, s []driver.Snapshot) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	names := k.destroyers(s)
	again := time.NewTicker(aloneRetry)
	defer again.Stop()
	for {
		busy, release, err := k.uses.Claim(names...)
		if err != nil || len(busy) == 0 {
			return release, err
		}
		release()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// destroyers are what the destroyers in the pools of snapshots are called among state.Uses.
func (k *kept) destroyers(s []driver.Snapshot) []string {
	var names []string
	for _, one := range s {
		if k.realm.could(one) == nil {
			sum := sha256.Sum256([]byte(poolOf(one.Dataset.Name)))
			names = append(names, fmt.Sprintf("zfs-out-of-%x", sum[:16]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
