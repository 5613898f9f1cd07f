package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	noopRuns     = 15
	noopDatasets = 100
)

// noop runs an app of 100 datasets that nobody writes to, beside one of a single dataset: what a run costs for each.
func (b *bench) noop(ctx context.Context) (err error) {
	var done closers
	defer func() { err = errors.Join(err, done.close()) }()
	engine, err := testhost.NewEngine("")
	if err != nil {
		return err
	}
	done.add(engine.Close)
	counts := []int{1, noopDatasets}
	var stores []*store
	for _, n := range counts {
		pool, remove, err := testhost.NewPool(b.kind, diskSize)
		if err != nil {
			return err
		}
		done.add(remove)
		s, err := newStore(ctx, b.on, pool, filepath.Join(filepath.Dir(b.bin), fmt.Sprint("noop", n)), n, 0, "{last: 1000}")
		if err != nil {
			return err
		}
		stores = append(stores, s)
	}
	took := make([]sample, len(counts))
	var memory int64
	for i := range b.times(noopRuns) {
		b.out.progress("noop: round %d", i+1)
		for k, s := range stores {
			used, err := measure(ctx, []string{b.bin, "--config", s.config, "--log-level", "error", "run"}, "DOCKER_HOST="+engine.Host)
			if err != nil {
				return err
			}
			took[k] = append(took[k], used.wall)
			memory = max(memory, used.memory)
		}
	}
	var rows [][]string
	for k, n := range counts {
		rows = append(rows, append([]string{fmt.Sprintf("%d datasets", n)}, took[k].cells()...))
	}
	b.out.table("`volsnap run`: take a set without a freeze, and find nothing to prune", append([]string{""}, statistics...), rows)
	each := (took[1].median() - took[0].median()) / (noopDatasets - 1)
	b.out.text("\nBy the medians, %s for each further dataset. Peak memory: %s.", milliseconds(each), mebibytes(memory))
	return nil
}
