package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// Partials implements driver.Receiver. Of what arrives at this moment it tells nothing, nor of what is not ours.
func (r *Replicas) Partials(ctx context.Context) ([]driver.Partial, error) {
	out, err := r.partials(ctx)
	if err != nil {
		return nil, fmt.Errorf("list broken transfers in %s: %w", r.place.name, err)
	}
	return out, nil
}

func (r *Replicas) partials(ctx context.Context) ([]driver.Partial, error) {
	v, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	var out []driver.Partial
	for _, c := range v.children {
		if c.token == "" {
			continue
		}
		p, err := c.partial()
		if err != nil || p.Bytes == 0 {
			continue // a Receive of it says so
		}
		release, err := r.uses.Use(arrivalIn(c.name))
		if errors.Is(err, state.ErrLocked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		release()
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b driver.Partial) int { return strings.Compare(a.GUID, b.GUID) })
	return out, nil
}

// partial is what is kept in a file system of a stream that broke. It is ours if it is what the intent there is of.
func (c *child) partial() (driver.Partial, error) {
	t, err := parseToken(c.token)
	if err == nil && (c.intent == nil || c.intent.GUID != t.to) {
		err = fmt.Errorf("it is of %q, of which no record there speaks", t.to)
	}
	if err != nil {
		return driver.Partial{}, fmt.Errorf("%s keeps something of a zfs receive that is not volsnap's: if nobody needs that, zfs receive -A %s: %w: %w",
			c.name, quote(c.name), driver.ErrForeign, err)
	}
	return driver.Partial{GUID: t.to, Base: t.from, Token: c.token, Bytes: int64(min(t.bytes, 1<<62))}, nil
}
