package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

const dirtyBytes = 1 << 20

// fifty takes groups of few and of 50 datasets in turn, with nothing dirty and with 1 MiB of dirty data in each.
func (b *bench) fifty(ctx context.Context) (err error) {
	pool, remove, err := testhost.NewPool(b.kind, diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	f := b.on.facts()
	counts, runs := f.fiftyCounts, b.times(f.fiftyRuns)
	s, err := newStore(ctx, b.on, pool, filepath.Join(filepath.Dir(b.bin), "fifty"), slices.Max(counts), 2*len(counts)*runs, "{last: 1}")
	if err != nil {
		return err
	}
	var rows [][]string
	set := 0
	for _, dirty := range f.fiftyDirty {
		took, bare := make([]sample, len(counts)), make([]sample, len(counts))
		for i := range runs {
			b.out.progress("fifty: round %d, dirty %t", i+1, dirty)
			for k, n := range counts {
				set++
				one, err := s.only(n).takeOnce(ctx, set, dirty)
				if err != nil {
					return err
				}
				took[k] = append(took[k], one)
				if one, err = s.only(n).takeBare(ctx, set, dirty); err != nil {
					return err
				}
				bare[k] = append(bare[k], one)
			}
		}
		rows = append(rows, fiftyRows(counts, took, dirty, "")...)
		rows = append(rows, fiftyRows(counts, bare, dirty, ", "+f.alone)...)
	}
	head := append(append([]string{""}, statistics...), fmt.Sprintf("× %d volumes", counts[0]))
	b.out.table("All snapshots of a set, without the pauses", head, rows)
	return nil
}

func fiftyRows(counts []int, took []sample, dirty bool, how string) (rows [][]string) {
	state := "nothing dirty"
	if dirty {
		state = "1 MiB dirty in each"
	}
	for k, n := range counts {
		rows = append(rows, append(append([]string{fmt.Sprintf("%d volumes, %s%s", n, state, how)}, took[k].cells()...), ratio(took[k], took[0])))
	}
	return rows
}

// takeOnce measures the part that runs while the writers are paused.
func (s *store) takeOnce(ctx context.Context, i int, dirty bool) (took time.Duration, err error) {
	req, err := s.request(i)
	if err != nil {
		return 0, err
	}
	g, err := s.prepare(ctx, req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	if err := s.dirty(ctx, i, dirty); err != nil {
		return 0, err
	}
	begin := time.Now()
	err = g.Take(ctx)
	took = time.Since(begin)
	if err != nil {
		return took, err
	}
	snaps, err := g.Made(ctx)
	if err != nil {
		return took, err
	}
	return took, s.settle(ctx, snaps)
}

// takeBare makes the same snapshots, and does nothing else.
func (s *store) takeBare(ctx context.Context, i int, dirty bool) (time.Duration, error) {
	to := filepath.Join(s.pool.Top, "bare", fmt.Sprint(i))
	if err := os.MkdirAll(to, 0o700); err != nil {
		return 0, err
	}
	take, err := s.bare(s.datasets, to)
	if err != nil {
		return 0, err
	}
	if err := s.dirty(ctx, i, dirty); err != nil {
		return 0, err
	}
	before := runtime.GOMAXPROCS(runtime.NumCPU() + len(s.datasets)) // those that wait for an ioctl count
	defer runtime.GOMAXPROCS(before)
	begin := time.Now()
	err = take(ctx)
	took := time.Since(begin)
	if err != nil {
		return took, err
	}
	return took, s.discard(ctx, s.datasets, to)
}

// dirty writes what is dirty, and then makes something dirty again if wanted.
func (s *store) dirty(ctx context.Context, i int, dirty bool) error {
	if err := s.flush(ctx, s.pool, s.paths); err != nil || !dirty {
		return err
	}
	content := slices.Repeat([]byte{byte(i)}, dirtyBytes)
	for _, at := range s.paths {
		if err := os.WriteFile(filepath.Join(at, fmt.Sprint("file", i%20)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
