package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// brought is what a restore's journal has of a set that was fetched.
type brought struct {
	Manifest *snapset.Manifest
	Recorded bool // the target had it, and it was not made of the snapshots
}

// keepBrought does what is to be done with a set that was fetched when it is in its place. The replicas are removed, and if this host had
// the set no more, it takes it for its own: the next one is then sent as an increment to the target that it came from. That it
// cannot is no failure of the restore.
func (e *Engine) keepBrought(ctx context.Context, j *restore.Journal) {
	if !j.Fetched {
		return
	}
	log := zerolog.Ctx(ctx)
	var b brought
	err := json.Unmarshal(j.Record, &b)
	if err == nil && b.Manifest == nil {
		err = errors.New("the journal has no manifest of it")
	}
	if err == nil {
		err = e.adopt(ctx, *b.Manifest, j.Items)
	}
	if err != nil {
		log.Warn().Err(err).Str("set", string(j.Set)).
			Msg("the set was restored, but is not one of this host now: a target that has sets of the same datasets may refuse the next one")
	}
	for _, it := range j.Items {
		e.forgetFetched(ctx, it.Snapshot, it.Dataset)
	}
	if err := e.keepManifest(ctx, j.Set, b); err != nil {
		log.Warn().Err(err).Msg("could not keep the manifest of the set")
	}
}

// adopt makes the set one of this host, unless it is that already. It goes on where a killed one stopped.
func (e *Engine) adopt(ctx context.Context, m snapset.Manifest, items []restore.Item) error {
	set, err := e.Set(ctx, m.ID)
	if err != nil && !errors.Is(err, ErrNoSet) {
		return err
	}
	if set.Complete {
		return nil
	}
	items, err = adoptable(m, items)
	if err != nil {
		return err
	}
	have := map[string]driver.Snapshot{}
	for _, s := range set.Snapshots {
		have[s.GUID] = s
	}
	var made []driver.Snapshot
	for _, it := range items {
		got, there := have[it.Snapshot.GUID]
		if !there {
			if got, err = e.adoptOne(ctx, it); err != nil {
				return err
			}
		}
		made = append(made, got)
		for i := range m.Members {
			if m.Members[i].GUID == got.GUID {
				m.Members[i].Dataset, m.Members[i].Snapshot, m.Members[i].Order = got.Dataset.Name, got.Name, got.Order
			}
		}
	}
	if !set.Recorded {
		m.Pins, m.Bases = []string{}, []string{}
		if err := e.Store.Write(&m); err != nil {
			return err
		}
	}
	return e.eachKind(made, func(d driver.Driver, its []driver.Snapshot) error {
		return d.Seal(ctx, string(m.Consistency), its...)
	})
}

func (e *Engine) adoptOne(ctx context.Context, it restore.Item) (driver.Snapshot, error) {
	d, err := e.driver(it.Dataset.Kind)
	if err != nil {
		return driver.Snapshot{}, err
	}
	a, ok := d.(driver.Adopter)
	if !ok {
		return driver.Snapshot{}, fmt.Errorf("adopt: %s: %w", it.Dataset, errors.ErrUnsupported)
	}
	return a.Adopt(ctx, it.Snapshot, it.Dataset)
}

// adoptable are the items of a restore, one for each snapshot, if they are all of the set, each in a dataset of its own.
func adoptable(m snapset.Manifest, items []restore.Item) (out []restore.Item, err error) {
	in := map[driver.Dataset]string{}
	restored := map[string]bool{}
	for _, it := range items {
		guid := it.Snapshot.GUID
		if other, taken := in[it.Dataset]; taken && other != guid {
			return nil, fmt.Errorf("adopt: %s has several members of the set now", it.Dataset)
		}
		if !restored[guid] {
			out = append(out, it)
		}
		in[it.Dataset], restored[guid] = guid, true
	}
	for _, member := range m.Members {
		if !restored[member.GUID] {
			return nil, errors.New("adopt: not all of the set was restored")
		}
	}
	return out, nil
}

// keepManifest keeps the manifest of a set that was fetched, if that is on this host again by other ways than adopt.
func (e *Engine) keepManifest(ctx context.Context, id driver.SetID, b brought) error {
	if b.Manifest == nil || !b.Recorded {
		return nil
	}
	s, err := e.Set(ctx, id)
	if errors.Is(err, ErrNoSet) {
		return nil
	}
	if err == nil && s.Complete && !s.Recorded {
		err = e.Store.Write(b.Manifest)
	}
	return err
}
