package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Adopt implements driver.Adopter. A read-only snapshot of what was received keeps its received UUID, which is the GUID, and what later
// streams name as their base.
func (d *Driver) Adopt(ctx context.Context, replica driver.Snapshot, ds driver.Dataset) (driver.Snapshot, error) {
	out, err := d.adopt(ctx, replica, ds)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("adopt %s for %s: %w", replica.Name, ds, classify(err))
	}
	return out, nil
}

func (d *Driver) adopt(ctx context.Context, replica driver.Snapshot, ds driver.Dataset) (driver.Snapshot, error) {
	from, err := fetchInto(ctx, ds)
	if err != nil {
		return driver.Snapshot{}, err
	}
	all, err := mountinfo.Read()
	if err != nil {
		return driver.Snapshot{}, err
	}
	ms := mountsOf(all)
	m, err := openSource(ms, ds)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer func() { closeAll(m.src, m.dir) }()
	whole := slices.ContainsFunc(replica.Volumes, func(v driver.Volume) bool { return v.Path == "." })
	if m.home, err = ms.home(m.dev, m.inside, whole); err != nil {
		return driver.Snapshot{}, err
	}
	store, err := makeStore(m.home.Point)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer closeAll(store)
	if err := lock(ctx, store); err != nil {
		return driver.Snapshot{}, err
	}
	var out driver.Snapshot
	err = from.withSnapshot(ctx, replica, func(p *spot) error {
		m.record = record{
			Version: recordVersion, Set: replica.Set, Member: replica.Member, Of: replica.Of, Volumes: slices.Clone(replica.Volumes),
			Source: m.inside, SourceUUID: p.info.uuid.String(), GUID: p.record.guid(p.info), Taken: replica.Taken.UTC(),
		}
		out, err = m.makeOf(store, p.dir)
		return err
	})
	return out, err
}

// makeOf makes the member's snapshot, of what is open, with its record beside it. The store is locked.
func (m *member) makeOf(store, of *os.File) (driver.Snapshot, error) {
	if err := m.claim(store); err != nil {
		return driver.Snapshot{}, err
	}
	if err := writeRecords(store, []write{{m.dir, m.record}}); err != nil {
		return driver.Snapshot{}, err
	}
	if err := makeSnapshot(of, m.dir, m.name(), true); err != nil {
		return driver.Snapshot{}, errors.Join(err, remove(m.dir, m.name()+recordExt))
	}
	if err := commit(m.dir); err != nil {
		return driver.Snapshot{}, err
	}
	info, err := m.inspect()
	if err != nil {
		return driver.Snapshot{}, err
	}
	return driver.Snapshot{
		Dataset: m.ds, Name: filepath.Join(m.dir.Name(), m.name()), Order: info.id, Taken: m.Taken, Set: m.Set,
		Member: m.Member, Of: m.Of, Volumes: slices.Clone(m.Volumes), GUID: m.guid(info),
	}, nil
}
