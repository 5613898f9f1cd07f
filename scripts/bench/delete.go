package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	deleteRuns    = 3
	deleteSets    = 2000
	writeInterval = 10 * time.Millisecond
	calm          = 5 * time.Second // of writing with nothing beside it
)

// delete removes 2,000 sets while a process appends and syncs each 10 ms on the same file system: by volsnap, and by one
// command of btrfs. Each run has a file system of its own. It is of Btrfs alone.
func (b *bench) delete(ctx context.Context) error {
	var calm, volsnap, raw, volsnapTook, rawTook sample
	for i := range b.times(deleteRuns) {
		for _, by := range []struct {
			felt, took *sample
			remove     func(context.Context, *store) error
		}{{&volsnap, &volsnapTook, b.prune}, {&raw, &rawTook, subvolumeDelete}} {
			b.out.progress("delete: run %d", i+1)
			before, during, took, err := b.deleteOnce(ctx, by.remove)
			if err != nil {
				return err
			}
			calm, *by.felt, *by.took = append(calm, before...), append(*by.felt, during...), append(*by.took, took)
		}
	}
	rows := [][]string{
		append(append([]string{"nothing is deleted"}, calm.cells()...), "–"),
		append(append([]string{"`volsnap prune --yes`"}, volsnap.cells()...), milliseconds(volsnapTook.median())),
		append(append([]string{"`btrfs subvolume delete` of all"}, raw.cells()...), milliseconds(rawTook.median())),
	}
	title := fmt.Sprintf("4 KiB appended and synced every %s while %d snapshots are deleted, %d runs", writeInterval, deleteSets, b.times(deleteRuns))
	b.out.table(title, append(append([]string{""}, statistics...), "until all space is free"), rows)
	return nil
}

func (b *bench) deleteOnce(ctx context.Context, by func(context.Context, *store) error) (before, during sample, took time.Duration, err error) {
	pool, remove, err := testhost.NewPool(b.kind, diskSize)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	dir, err := os.MkdirTemp(filepath.Dir(b.bin), "delete")
	if err != nil {
		return nil, nil, 0, err
	}
	s, err := newStore(ctx, b.on, pool, dir, 1, deleteSets+1, "{last: 1}")
	if err != nil {
		return nil, nil, 0, err
	}
	if err := s.fill(ctx, 0, deleteSets+1, func(i int) { b.out.progress("delete: %d of %d sets", i, deleteSets) }); err != nil {
		return nil, nil, 0, err
	}
	if err := s.flush(ctx, pool, s.paths); err != nil {
		return nil, nil, 0, err
	}
	if before, err = beside(ctx, s, func(ctx context.Context) error { return pass(ctx, calm) }); err != nil {
		return nil, nil, 0, err
	}
	begin := time.Now()
	during, err = beside(ctx, s, func(ctx context.Context) error {
		if err := by(ctx, s); err != nil {
			return err
		}
		_, err := command.Run(ctx, command.Cmd{Argv: []string{"btrfs", "subvolume", "sync", pool.Top}})
		return err
	})
	took = time.Since(begin)
	if left, listErr := s.ours(ctx); err == nil && (listErr != nil || len(left) != 1) {
		err = errors.Join(listErr, fmt.Errorf("%d snapshots are left", len(left)))
	}
	return before, during, took, err
}

func (b *bench) prune(ctx context.Context, s *store) error {
	_, err := command.Run(ctx, command.Cmd{Argv: []string{b.bin, "--config", s.config, "--log-level", "error", "prune", "--yes"}})
	return err
}

func subvolumeDelete(ctx context.Context, s *store) error {
	all, err := s.ours(ctx)
	if err != nil {
		return err
	}
	argv := []string{"btrfs", "subvolume", "delete"}
	for _, one := range all[:len(all)-1] {
		argv = append(argv, one.Name)
	}
	_, err = command.Run(ctx, command.Cmd{Argv: argv})
	return err
}

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// beside appends to a file of the first dataset and syncs it while fn runs, and reports how long each time took.
func beside(ctx context.Context, s *store, fn func(context.Context) error) (took sample, err error) {
	f, err := os.OpenFile(filepath.Join(s.paths[0], "foreground"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	done := make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		defer close(done)
		return fn(ctx)
	})
	again := time.NewTicker(writeInterval)
	defer again.Stop()
	for page := make([]byte, 4096); ; {
		select {
		case <-done:
			return took, g.Wait()
		case <-again.C:
		}
		begin := time.Now()
		if _, err := f.Write(page); err != nil {
			return took, errors.Join(err, g.Wait())
		}
		if err := f.Sync(); err != nil {
			return took, errors.Join(err, g.Wait())
		}
		took = append(took, time.Since(begin))
	}
}
