package lvm

import (
	"context"
	"fmt"

	"github.com/volsnap/volsnap/driver"
)

// roomStep is how much is written, at most, before the pool is looked at again. A pool that fills fails the writes of all its
// volumes, so what arrives stops before.
const roomStep = 32 << 20

// room is how much more may be written to a pool.
type room struct {
	vg, name string
	pool     pool  // as it was at first
	left     int64 // bytes
	last     int64 // end of what was taken last
}

// take is ErrNoSpace if the pool might not have room for the range of a volume. Before it looks it calls flush: what is not on
// the device yet, the pool does not know.
func (m *room) take(ctx context.Context, from, to int64, flush func() error) error {
	block := int64(m.pool.block)
	begin, end := from/block*block, (to+block-1)/block*block
	if from >= m.last { // the block in which the last one ended was counted
		begin = max(begin, (m.last+block-1)/block*block)
	}
	m.last = to
	need := end - begin
	if need <= 0 {
		return nil
	}
	if need > m.left {
		if err := flush(); err != nil {
			return err
		}
		if _, err := m.look(ctx); err != nil {
			return err
		}
	}
	if need > m.left {
		return fmt.Errorf("thin pool %s/%s: %d bytes more would fill it: %w", m.vg, m.name, need, driver.ErrNoSpace)
	}
	m.left -= need
	return nil
}

// look asks the kernel how full the pool is. ErrNoSpace: too full for anything more.
func (m *room) look(ctx context.Context) (status, error) {
	is, err := readStatus(ctx, m.vg, m.name)
	if err != nil {
		return status{}, err
	}
	if m.left, err = is.left(m.pool); err != nil {
		return status{}, fmt.Errorf("thin pool %s/%s: %w", m.vg, m.name, err)
	}
	return is, nil
}

// left is how many bytes may be written until the next look.
func (s status) left(p pool) (int64, error) {
	metadata := 100 * float64(s.metaUsed) / float64(s.metaTotal)
	allowed := uint64(p.dataLimit() / 100 * float64(s.dataTotal))
	switch {
	case s.mode != "rw":
		return 0, fmt.Errorf("its mode is %q: %w", s.mode, driver.ErrNoSpace)
	case metadata >= p.metadataLimit():
		return 0, fmt.Errorf("its metadata is %.2f %% full, and %.4g is too much: %w", metadata, p.metadataLimit(), driver.ErrNoSpace)
	case s.dataUsed >= allowed:
		return 0, fmt.Errorf("its data is %.2f %% full, more than %.4g: %w",
			100*float64(s.dataUsed)/float64(s.dataTotal), p.dataLimit(), driver.ErrNoSpace)
	}
	blocks := min(allowed-s.dataUsed, max(1, roomStep/p.block))
	return int64(blocks * p.block), nil
}
