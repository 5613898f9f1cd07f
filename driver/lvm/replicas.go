package lvm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/volsnap/volsnap/driver"
)

// Replicas is a place for replicas of one client: those volumes of a thin pool that carry its name. It holds nothing between
// calls. See "Replicas" in the package comment.
type Replicas struct {
	kept
	options Options
}

var (
	_ driver.Receiver = (*Replicas)(nil)
	_ driver.Sender   = (*Replicas)(nil)
)

// Options of a place.
type Options struct {
	// Owner tells places in one pool apart: two of different owners see nothing of each other. It is 1 to 200 bytes of UTF-8
	// without control characters, and has to stay the same for replicas to be found again.
	Owner  string
	Resume bool // keep what came of a transfer that broke, so that it can go on
}

// Into is a place in a thin pool, "VG/POOL". Whether there is such a pool is seen when it is first used: ErrNotSupported.
func Into(pool string, o Options) (*Replicas, error) {
	vg, name, err := split(pool)
	if err != nil {
		return nil, fmt.Errorf("place %q: want VG/THINPOOL: %w", pool, driver.ErrNotSupported)
	}
	if o.Owner == "" || len(o.Owner) > maxOwner || !text(o.Owner) || strings.ContainsFunc(o.Owner, unicode.IsControl) {
		return nil, fmt.Errorf("place %s: owner %q: want 1 to %d bytes without control characters", pool, o.Owner, maxOwner)
	}
	return &Replicas{kept: kept{realm: realm{vg: vg, pool: name, owner: o.Owner}, pace: pace()}, options: o}, nil
}

// Pool is the thin pool that the place is in, as "VG/POOL".
func (r *Replicas) Pool() string { return r.vg + "/" + r.pool }

// Kind implements driver.Receiver.
func (r *Replicas) Kind() string { return Kind }

// Formats implements driver.Receiver: there is one.
func (r *Replicas) Formats() []string { return nil }

// Space implements driver.Receiver. It is as Driver.Space of a volume of the pool.
func (r *Replicas) Space(ctx context.Context) (driver.Space, error) {
	if _, err := r.view(ctx); err != nil {
		return driver.Space{}, fmt.Errorf("space of %s: %w", r.Pool(), err)
	}
	p, err := readUse(ctx, r.vg, r.pool)
	if err != nil {
		return driver.Space{}, fmt.Errorf("space of %s: %w", r.Pool(), err)
	}
	return p.space(), nil
}

// Snapshots implements driver.Lister, by one process. A replica's dataset is no volume, but what replicas of one source have in
// common.
func (r *Replicas) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	out, err := r.snapshots(ctx, ds)
	if err != nil {
		return nil, fmt.Errorf("list replicas in %s: %w", r.Pool(), err)
	}
	return out, nil
}

func (r *Replicas) snapshots(ctx context.Context, ds []driver.Dataset) ([]driver.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := groupsOf(ds); err != nil {
		return nil, err
	}
	in, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	var out []driver.Snapshot
	for _, s := range in.replicas() {
		if len(ds) == 0 || slices.Contains(ds, s.Dataset) {
			out = append(out, s)
		}
	}
	return out, nil
}

// inPlace is what is in the volume group of a place, read at once.
type inPlace struct {
	realm
	pool lv
	all  []lv
}

// view reads the volume group, and finds the pool in it.
func (r realm) view(ctx context.Context) (inPlace, error) {
	all, err := volumes(ctx, r.vg)
	if err != nil {
		return inPlace{}, err
	}
	at := slices.IndexFunc(all, func(v lv) bool { return v.VG == r.vg && v.Name == r.pool })
	if at < 0 || all[at].Segment != "thin-pool" {
		return inPlace{}, fmt.Errorf("%s/%s is no thin pool; make one with \"lvcreate --type thin-pool -L SIZE -n %s %s\": %w",
			r.vg, r.pool, r.pool, r.vg, driver.ErrNotSupported)
	}
	return inPlace{realm: r, pool: all[at], all: all}, nil
}

// replicas of the place, in the order in which they came within a dataset.
func (in inPlace) replicas() []driver.Snapshot {
	var out []driver.Snapshot
	for _, v := range in.all {
		if s, ok := in.judge(v); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// found is the volume of a replica that was listed.
func (in inPlace) found(s driver.Snapshot) (found, error) {
	w := &view{realm: in.realm, volumes: map[string]lv{}}
	for _, v := range in.all {
		w.volumes[v.String()] = v
	}
	return w.find(s)
}

// byName finds a volume of the group.
func (in inPlace) byName(name string) (lv, bool) {
	at := slices.IndexFunc(in.all, func(v lv) bool { return v.Name == name })
	if at < 0 {
		return lv{}, false
	}
	return in.all[at], true
}
