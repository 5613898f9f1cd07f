package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/volsnap/volsnap/driver"
)

// source is a snapshot and perhaps its base, held, active and open for a stream.
type source struct {
	pool    lv
	snap    part
	base    *part
	release func()
}

// part is one of the two.
type part struct {
	found
	f    *os.File
	size int64 // of what it is a snapshot of, in bytes
}

// openSource finds and holds what a stream is made of, and opens the devices. They are opened under the lock, so that nobody
// deactivates them before. The caller must close it.
func (r realm) openSource(ctx context.Context, req driver.SendRequest) (*source, error) {
	unlock, err := lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	asked := []driver.Snapshot{req.Snapshot}
	if req.Base != nil {
		asked = append(asked, *req.Base)
	}
	w, err := r.look(ctx, asked)
	if err != nil {
		return nil, err
	}
	var these []found
	for _, one := range asked {
		f, err := w.find(one)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.Name, err)
		}
		these = append(these, f)
	}
	s := &source{pool: w.volumes[these[0].VG+"/"+these[0].Pool]}
	if last := these[len(these)-1]; s.pool.UUID == "" || last.VG != s.pool.VG || last.Pool != s.pool.Name {
		return nil, fmt.Errorf("%s and %s are not in one thin pool: %w", these[0], last, driver.ErrNotSupported)
	}
	if s.release, err = hold(these...); err != nil {
		return nil, err
	}
	if err := r.openParts(ctx, s, these); err != nil {
		s.shut(ctx)
		return nil, err
	}
	return s, nil
}

func (r realm) openParts(ctx context.Context, s *source, these []found) error {
	var err error
	if s.snap, err = r.partOf(these[0]); err != nil {
		return err
	}
	if len(these) > 1 {
		base, err := r.partOf(these[1])
		if err != nil {
			return err
		}
		s.base = &base
	}
	if err := settleIfNeeded(ctx, s.pool); err != nil {
		return err
	}
	err = change(ctx, "lvchange", "-y", "--activate", "y", "--ignoreactivationskip", "--select", byUUID(these...), s.pool.VG)
	if err != nil {
		return err
	}
	for _, p := range s.parts() {
		if p.f, _, err = p.open(os.O_RDONLY); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) parts() []*part {
	if s.base == nil {
		return []*part{&s.snap}
	}
	return []*part{&s.snap, s.base}
}

// partOf is a part that is not open yet.
func (r realm) partOf(f found) (part, error) {
	size, err := strconv.ParseInt(f.Size, 10, 64)
	_, bad := strconv.ParseUint(f.Thin, 10, 24)
	if err := errors.Join(err, bad); err != nil {
		return part{}, fmt.Errorf("%s: its size %q and number %q: %w", f, f.Size, f.Thin, err)
	}
	if r.isPlace() { // whose volumes may be larger than what is in them
		rec, _ := r.belongs(f.lv)
		size = min(size, rec.Size)
	}
	return part{found: f, size: size}, nil
}

// close lets go of everything, and deactivates what nobody else has open. One that stays active does no harm, and the next who
// uses it deactivates it.
func (s *source) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	unlock, err := lock(ctx)
	if err == nil {
		defer unlock()
	}
	s.shut(ctx)
}

// shut is close for who has the driver's lock.
func (s *source) shut(ctx context.Context) {
	var these []found
	for _, p := range s.parts() {
		if p.f != nil {
			_ = p.f.Close() // it was read only
		}
		if p.UUID != "" {
			these = append(these, p.found)
		}
	}
	if len(these) > 0 {
		_ = change(context.WithoutCancel(ctx), "lvchange", "-y", "--activate", "n", "--select", byUUID(these...), s.pool.VG)
	}
	s.release()
}
