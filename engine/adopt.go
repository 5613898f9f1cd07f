package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/restore"
)

// adopt takes a set that was fetched and put in place for one of this host, if it has it no more: the next one is then sent as an
// increment to the target that it came from. That it cannot is no failure of the restore.
func (e *Engine) adopt(ctx context.Context, from *replica, p *restore.Plan) {
	if from == nil {
		return
	}
	if err := e.tryAdopt(ctx, from, p); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("set", string(p.Set)).
			Msg("the set was restored, but is not one of this host now: a target that has sets of the same datasets may refuse the next one")
	}
}

func (e *Engine) tryAdopt(ctx context.Context, from *replica, p *restore.Plan) error {
	if _, err := e.Set(ctx, p.Set); !errors.Is(err, ErrNoSet) {
		return err
	}
	byGUID, err := adoptable(from, p)
	if err != nil {
		return err
	}
	m := *from.set.Manifest
	m.Members = slices.Clone(m.Members)
	var made []driver.Snapshot
	for _, one := range from.set.Snapshots {
		it := byGUID[one.GUID]
		d, err := e.driver(it.Dataset.Kind)
		if err != nil {
			return err
		}
		a, ok := d.(driver.Adopter)
		if !ok {
			return fmt.Errorf("adopt: %s: %w", it.Dataset, errors.ErrUnsupported)
		}
		got, err := a.Adopt(ctx, it.Snapshot, it.Dataset)
		if err != nil {
			return err
		}
		made = append(made, got)
		for i := range m.Members {
			if m.Members[i].GUID == got.GUID {
				m.Members[i].Dataset, m.Members[i].Snapshot, m.Members[i].Order = got.Dataset.Name, got.Name, got.Order
			}
		}
	}
	m.Pins, m.Bases = []string{}, []string{}
	if err := e.Store.Write(&m); err != nil {
		return err
	}
	return e.eachKind(made, func(d driver.Driver, its []driver.Snapshot) error {
		return d.Seal(ctx, string(m.Consistency), its...)
	})
}

// adoptable are the items of a plan by the GUID of their snapshot, if they are all of the set, each in a dataset of its own.
func adoptable(from *replica, p *restore.Plan) (map[string]restore.Item, error) {
	byGUID := map[string]restore.Item{}
	in := map[driver.Dataset]string{}
	for _, it := range p.Items {
		guid := it.Snapshot.GUID
		if other, taken := in[it.Dataset]; taken && other != guid {
			return nil, fmt.Errorf("adopt: %s has several members of the set now", it.Dataset)
		}
		in[it.Dataset], byGUID[guid] = guid, it
	}
	if len(byGUID) != len(from.set.Snapshots) {
		return nil, errors.New("adopt: not all of the set was restored")
	}
	return byGUID, nil
}
