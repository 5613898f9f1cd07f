package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	manyRuns   = 7
	manyPolicy = "{last: 5, hourly: 48, daily: 60, weekly: 52, monthly: 24}"
)

// many lists a great number of snapshots and plans to prune them: alone, and beside as many of another tool's. On Btrfs that
// is 10,000 as 2,000 sets of 5 volumes, and then as 10,000 sets of one.
func (b *bench) many(ctx context.Context) error {
	f := b.on.facts()
	snapshots, each := f.snapshots, f.volumes
	if b.snapshots > 0 {
		snapshots = b.snapshots
	}
	if b.volumes > 0 {
		each = []int{b.volumes}
	}
	for _, volumes := range each {
		if err := b.manySets(ctx, snapshots/volumes, volumes); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) manySets(ctx context.Context, sets, volumes int) (err error) {
	pool, remove, err := testhost.NewPool(b.kind, diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	dir := filepath.Join(filepath.Dir(b.bin), fmt.Sprint("many", volumes))
	s, err := newStore(ctx, b.on, pool, dir, volumes, sets, manyPolicy)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = s.fill(ctx, 0, sets, func(i int) { b.out.progress("many: %d of %d sets of %d volumes", i, sets, volumes) })
	if err != nil {
		return err
	}
	b.out.progress("many: made in %s", time.Since(begin))
	title := fmt.Sprintf("%d snapshots: %d sets of %d", sets*volumes, sets, volumes)
	if err := b.listings(ctx, s, title+", nothing else in the pool", nil); err != nil {
		return err
	}
	if testhost.Slow() == 1 {
		if err := b.runBeside(ctx, s, title); err != nil {
			return err
		}
	}
	if volumes == 1 {
		return nil // beside another tool's it differs no more than above
	}
	rival, programs, err := s.rival(ctx, s, sets)
	if err != nil || len(programs) == 0 {
		return err
	}
	b.out.progress("many: as many of %s are made", rival)
	return b.listings(ctx, s, title+", and as many of "+rival+"'s beside them", programs)
}

// listings runs the programs in turn, with others the first of the storage's own. An interrupted one prints what it has
// measured.
func (b *bench) listings(ctx context.Context, s *store, title string, others []program) error {
	volsnap := func(args ...string) []string {
		return append([]string{b.bin, "--config", s.config, "--log-level", "error"}, args...)
	}
	all := []*measured{
		{program: program{name: "`volsnap list --json`", argv: volsnap("list", s.app, "--json")}},
		{program: program{name: "`volsnap prune --dry-run --json`", argv: volsnap("prune", s.app, "--dry-run", "--json")}},
	}
	lists := s.lists(s.pool)
	if len(others) > 0 {
		lists = slices.Clip(lists[:1])
	}
	for _, p := range append(lists, others...) {
		all = append(all, &measured{program: p})
	}
	var failed error
	for i := range b.times(manyRuns) {
		if failed = b.round(ctx, "many", all, i); failed != nil {
			break
		}
	}
	if failed != nil && ctx.Err() == nil {
		return failed
	}
	var rows [][]string
	for _, m := range all {
		row := append([]string{m.name}, m.took.cells()...)
		rows = append(rows, append(row, ratio(all[0].took, m.took), ratio(all[1].took, m.took), milliseconds(m.worked.median()), mebibytes(m.memory)))
	}
	b.out.table(title, append(append([]string{""}, statistics...), "volsnap list is × this", "volsnap prune is × this", "CPU time, median", "peak memory"), rows)
	return failed
}

// measured is a program and what it took.
type measured struct {
	program
	took, worked sample
	memory       int64 // at its peak
}

// round runs each program once, beginning with another one each time.
func (b *bench) round(ctx context.Context, part string, all []*measured, i int) error {
	for k := range all {
		m := all[(i+k)%len(all)]
		if m.most > 0 && len(m.took) == m.most {
			continue
		}
		if m.ready != nil {
			if err := m.ready(ctx); err != nil {
				return err
			}
		}
		used, err := measure(ctx, m.argv, m.env...)
		if err != nil {
			return err
		}
		m.took, m.worked, m.memory = append(m.took, used.wall), append(m.worked, used.cpu), max(m.memory, used.memory)
		b.out.progress("%s: %s: %s", part, m.name, used.wall)
	}
	return nil
}

// runBeside takes sets, and keeps them, with so many there already.
func (b *bench) runBeside(ctx context.Context, s *store, title string) (err error) {
	engine, err := testhost.NewEngine("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	var took, worked sample
	var memory int64
	for range b.times(manyRuns) {
		argv := []string{b.bin, "--config", s.keepAll(), "--log-level", "error", "run"}
		used, err := measure(ctx, argv, "DOCKER_HOST="+engine.Host)
		if err != nil {
			return err
		}
		took, worked, memory = append(took, used.wall), append(worked, used.cpu), max(memory, used.memory)
	}
	row := append(append([]string{"`volsnap run`"}, took.cells()...), milliseconds(worked.median()), mebibytes(memory))
	b.out.table(title+", and a run that adds a set to them", append(append([]string{""}, statistics...), "CPU time, median", "peak memory"), [][]string{row})
	return nil
}

// mebibytes is a peak of memory. The kernel counts what this program had when it started the other, so less than that cannot
// be seen.
func mebibytes(n int64) string {
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil && n <= own.Maxrss<<10 {
		return fmt.Sprintf("≤ %d MiB", n>>20)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// usage is what a program took.
type usage struct {
	wall   time.Duration
	cpu    time.Duration // of all processors, user and system
	memory int64         // bytes, at its peak
}

// measure runs a program, and throws its output away.
func measure(ctx context.Context, argv []string, env ...string) (usage, error) {
	cmd := commandOf(ctx, argv, env)
	begin := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(begin)}
	if cmd.ProcessState != nil {
		u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if ctx.Err() != nil {
		return u, ctx.Err()
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w", argv, err)
	}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss << 10
	}
	return u, nil
}
