package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// What is in use across processes, see state.Uses: a volume that a stream is made of or builds on, a dataset of which a stream
// arrives, and the metadata snapshot of a pool. Each ends with the process that has it.
func useOfVolume(v lv) string        { return "lvm-" + v.UUID }
func useOfArrival(key string) string { return "lvm-arriving-" + key }
func useOfMetadata(pool lv) string   { return "lvm-metadata-" + pool.UUID }

// hold keeps volumes from being unsealed and destroyed, until release.
func hold(these ...found) (release func(), err error) {
	var names []string
	for _, f := range these {
		names = append(names, useOfVolume(f.lv))
	}
	release, err = state.HostUses().Use(names...)
	if errors.Is(err, state.ErrLocked) {
		err = fmt.Errorf("%w: %w", driver.ErrBusy, err)
	}
	return release, err
}

// claimOne is ok if nobody uses or claims the name.
func claimOne(name string) (ok bool, release func(), err error) {
	busy, release, err := state.HostUses().Claim(name)
	if err == nil && len(busy) > 0 {
		release()
		return false, nil, nil
	}
	return err == nil, release, err
}

const claimRetry = 20 * time.Millisecond

// awaitClaim claims the name as soon as nobody else does.
func awaitClaim(ctx context.Context, name string) (release func(), err error) {
	again := time.NewTicker(claimRetry)
	defer again.Stop()
	for {
		ok, release, err := claimOne(name)
		if ok || err != nil {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// claim finds snapshots that are free to be unsealed or destroyed, and keeps streams from using them until letGo. What is gone
// is no error; failed has one for each that was asked for. The driver's lock is held.
func (w *view) claim(asked []driver.Snapshot) (free []found, failed []error, letGo func()) {
	failed = make([]error, len(asked))
	var names []string
	candidates := make([]*found, len(asked))
	for i, one := range asked {
		f, err := w.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = f.free()
		}
		if err != nil {
			failed[i] = fmt.Errorf("%q: %w", one.Name, err)
			continue
		}
		candidates[i] = &f
		names = append(names, useOfVolume(f.lv))
	}
	busy, letGo, err := state.HostUses().Claim(names...)
	if err != nil {
		letGo = func() {}
	}
	for i, f := range candidates {
		switch {
		case f == nil:
		case err != nil:
			failed[i] = fmt.Errorf("%q: %w", asked[i].Name, err)
		case busy[useOfVolume(f.lv)]:
			failed[i] = fmt.Errorf("%q: a stream of it, or on top of it, is under way: %w", asked[i].Name, driver.ErrBusy)
		default:
			free = append(free, *f)
		}
	}
	return free, failed, letGo
}
