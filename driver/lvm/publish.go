package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
	"github.com/volsnap/volsnap/internal/fault"
)

// publish makes the volume read-only, and then a replica by giving it its name.
func (a *arrival) publish(ctx context.Context) (driver.Snapshot, error) {
	ctx = context.WithoutCancel(ctx) // all of it is here
	if err := a.finishFile(); err != nil {
		return driver.Snapshot{}, err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer unlock()
	mine := found{lv: a.vol}
	if err := mine.deactivate(ctx); err != nil {
		return driver.Snapshot{}, err
	}
	args := []string{"lvchange", "-y", "--config", quick, "--permission", "r", "--addtag=" + arrivedTag(a.vol, time.Now())}
	if a.note != "" {
		args = append(args, "--deltag="+a.note)
	}
	fault.Point("before a replica is made read-only")
	if err := change(ctx, append(args, "--select", byUUID(mine), a.vg)...); err != nil {
		return driver.Snapshot{}, err
	}
	v, err := a.finished(ctx)
	if err != nil {
		return driver.Snapshot{}, err
	}
	fault.Point("before rename of a replica")
	if err := change(ctx, "lvrename", a.vg, v.Name, a.replicaName(a.rec)); err != nil {
		return driver.Snapshot{}, err
	}
	fault.Point("after rename of a replica")
	v.Name = a.replicaName(a.rec)
	s, _ := a.judge(v) // finished has looked
	return s, nil
}

// finished looks at the volume, and sees whether it will be the replica once it has its name.
func (a *arrival) finished(ctx context.Context) (lv, error) {
	in, err := a.view(ctx)
	if err != nil {
		return lv{}, err
	}
	v, there := in.byName(a.stagingName(a.rec))
	if !there {
		return lv{}, fmt.Errorf("%s was filled a moment ago: %w", a.vol, driver.ErrNotFound)
	}
	named := v
	named.Name = a.replicaName(a.rec)
	s, ok := a.judge(named)
	origin := ""
	if a.base != nil {
		origin = a.base.UUID
	}
	if !ok || s.Fault != "" || v.UUID != a.vol.UUID || v.OriginUUID != origin {
		return lv{}, fmt.Errorf("%s is not what was filled a moment ago: %w", v, driver.ErrForeign)
	}
	return v, nil
}

// end keeps what came of an arrival that failed because of err, if it can go on, or removes it. What it cannot remove is
// invisible, and the next one removes it.
func (a *arrival) end(ctx context.Context, err error) error {
	if a.vol.UUID == "" {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	broke := errors.Is(err, stream.ErrBroken) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if a.options.Resume && broke && a.at.Records > 0 && a.f != nil {
		if err := a.finishFile(); err == nil {
			return errors.Join(a.checkpoint(ctx, a.at), found{lv: a.vol}.deactivate(ctx))
		}
	}
	if a.f != nil {
		_ = a.f.Close() // it goes
		a.f = nil
	}
	unlock, lockErr := lock(ctx)
	if lockErr != nil {
		return lockErr
	}
	defer unlock()
	return removeStaging(ctx, found{lv: a.vol})
}
