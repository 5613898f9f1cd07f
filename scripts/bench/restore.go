package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/report"
)

const restoreRuns = 7

// restoreMebibytes are what the node's volumes hold beside its own few.
func restoreMebibytes() []int {
	if testhost.Slow() > 1 {
		return []int{64, 512}
	}
	return []int{256, 4096}
}

// restored is what was measured at one size.
type restored struct {
	mebibytes                         int
	command, ready, drill, drillReady sample // of volsnap
	copied, clone                     sample // of cp
	set                               fixture.Set
	sources                           []string // what cp copies
	to                                string   // a dataset of its own
}

// restore restores a node and drills its set at two sizes, and copies as much.
func (b *bench) restore(ctx context.Context) error {
	var all []*restored
	for _, size := range restoreMebibytes() {
		r := &restored{mebibytes: size}
		if err := b.restoreAt(ctx, r); err != nil {
			return err
		}
		all = append(all, r)
	}
	var rows [][]string
	for _, row := range []struct {
		name string
		of   func(*restored) sample
	}{
		{"restore in place, until PostgreSQL accepted connections", func(r *restored) sample { return r.ready }},
		{"restore in place, the whole command", func(r *restored) sample { return r.command }},
		{"drill, until PostgreSQL accepted connections", func(r *restored) sample { return r.drillReady }},
		{"drill, with all its checks", func(r *restored) sample { return r.drill }},
		{"`cp -a --reflink=never` of the volumes, and `sync -f`", func(r *restored) sample { return r.copied }},
		{"`cp -a` of the volumes, and `sync -f`", func(r *restored) sample { return r.clone }},
	} {
		for _, r := range all {
			rows = append(rows, append(append([]string{row.name, fmt.Sprintf("%d MiB", r.mebibytes)}, row.of(r).cells()...), ratio(row.of(r), row.of(all[0]))))
		}
	}
	head := append(append([]string{"", "data"}, statistics...), fmt.Sprintf("× that of %d MiB", all[0].mebibytes))
	b.out.table("Restores and drills of a node at two sizes, beside copies", head, rows)
	return nil
}

// restoreAt has a node of its own.
func (b *bench) restoreAt(ctx context.Context, r *restored) (err error) {
	n, err := b.node(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	ballast := filepath.Join(n.ccn.Dataset(fixture.IPFS), "_data", "ballast")
	if err := os.Mkdir(ballast, 0o755); err != nil {
		return err
	}
	v := volume{r.mebibytes * 4 / 5} // and a fourth of that which can be compressed
	if err := v.write(ballast, 0); err != nil {
		return err
	}
	r.to = filepath.Join(n.pool.Top, "copies")
	if err := b.on.maker(n.pool).MakeDataset(ctx, r.to); err != nil {
		return err
	}
	for _, at := range n.volumes {
		r.sources = append(r.sources, filepath.Join(at, "_data"))
	}
	if err := b.on.flush(ctx, n.pool, n.volumes); err != nil {
		return err
	}
	if err := n.volsnap(ctx, b, &r.set, "snapshot", fixture.App, "--json"); err != nil {
		return err
	}
	ways := []func(context.Context, *bench, *node) error{r.inPlace, r.drilled, r.copy, r.cloned}
	for i := range b.times(restoreRuns) {
		b.out.progress("restore, %d MiB: round %d", r.mebibytes, i+1)
		for k := range ways { // none always follows the same other
			if err := ways[(k+i)%len(ways)](ctx, b, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *restored) inPlace(ctx context.Context, b *bench, n *node) error {
	var out report.Restore
	begin := time.Now()
	if err := n.volsnap(ctx, b, &out, "restore", r.set.ID, "--in-place", "--yes", "--json"); err != nil {
		return err
	}
	took := time.Since(begin)
	if out.ReadyMS == nil || len(out.Members) != len(n.volumes) || len(out.Kept) > 0 {
		return fmt.Errorf("restored: %+v", out)
	}
	r.command = append(r.command, took)
	r.ready = append(r.ready, time.Duration(*out.ReadyMS*float64(time.Millisecond)))
	return nil
}

func (r *restored) drilled(ctx context.Context, b *bench, n *node) error {
	var out report.Drill
	begin := time.Now()
	if err := n.volsnap(ctx, b, &out, "drill", fixture.App, "--set", r.set.ID, "--json"); err != nil {
		return err
	}
	took := time.Since(begin)
	if !out.OK || out.ReadyMS == 0 {
		return fmt.Errorf("drilled: %+v", out)
	}
	r.drill = append(r.drill, took)
	r.drillReady = append(r.drillReady, time.Duration(out.ReadyMS*float64(time.Millisecond)))
	return nil
}

func (r *restored) copy(ctx context.Context, _ *bench, _ *node) error {
	return r.copyBy(ctx, &r.copied, "--reflink=never")
}

func (r *restored) cloned(ctx context.Context, _ *bench, _ *node) error {
	return r.copyBy(ctx, &r.clone, "--reflink=auto")
}

// copyBy copies what the volumes hold, from memory if it is there, until it is on disk.
func (r *restored) copyBy(ctx context.Context, into *sample, how string) error {
	to := filepath.Join(r.to, "data")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	for i, source := range r.sources {
		if err := runOnly(ctx, "cp", "-a", how, source, filepath.Join(to, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	if err := runOnly(ctx, "sync", "-f", to); err != nil {
		return err
	}
	*into = append(*into, time.Since(begin))
	return errors.Join(os.RemoveAll(to), runOnly(ctx, "sync", "-f", r.to))
}
