package zfs

import (
	"context"
	"fmt"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// Pin implements driver.Pruner: a hold, which keeps the snapshot from everybody's `zfs destroy`.
func (k *kept) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.hold(ctx, "pin", s, reason, "hold", "tag already exists on this dataset")
}

// Unpin implements driver.Pruner.
func (k *kept) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.hold(ctx, "unpin", s, reason, "release", "no such tag on this dataset")
}

// hold runs a command on the hold of a reason. Where it says done, there was nothing to do.
func (k *kept) hold(ctx context.Context, verb string, s driver.Snapshot, reason, subcommand, done string) error {
	err := driver.CheckPin(reason)
	if err == nil {
		err = k.check(ctx, s)
	}
	if err == nil {
		_, err = run(ctx, "zfs", subcommand, holdPrefix+reason, s.Name)
		if err != nil && strings.Contains(err.Error(), done) {
			err = nil
		}
	}
	if err == nil && verb == "pin" {
		err = k.check(ctx, s) // it may have been replaced just before it was held
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.Name, err)
	}
	return nil
}

// check is nil for a snapshot that is ours, there, and the one that is meant.
func (k *kept) check(ctx context.Context, s driver.Snapshot) error {
	l, err := k.lookAt(ctx, []driver.Snapshot{s})
	if err != nil {
		return err
	}
	_, err = l.find(s)
	return err
}
