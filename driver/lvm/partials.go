package lvm

import (
	"context"
	"fmt"

	"github.com/volsnap/volsnap/driver"
)

// Partials implements driver.Receiver. Of what arrives at this moment it tells nothing.
func (r *Replicas) Partials(ctx context.Context) ([]driver.Partial, error) {
	out, err := r.partials(ctx)
	if err != nil {
		return nil, fmt.Errorf("list broken transfers in %s: %w", r.Pool(), err)
	}
	return out, nil
}

func (r *Replicas) partials(ctx context.Context) ([]driver.Partial, error) {
	if err := ctx.Err(); err != nil || !r.options.Resume {
		return nil, err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	in, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	var out []driver.Partial
	for _, v := range in.all {
		rec, ok := r.belongs(v)
		at, noted := progressOf(v)
		if !ok || !noted || v.Name != r.stagingName(rec) {
			continue
		}
		free, release, err := claimOne(useOfArrival(r.key(rec.Source)))
		if err != nil {
			return nil, err
		}
		if free {
			release()
			out = append(out, driver.Partial{GUID: rec.GUID, Base: rec.Base, Token: at.String(), Bytes: at.Sent()})
		}
	}
	return out, nil
}
