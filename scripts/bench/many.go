package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	manyRuns      = 7
	manySnapshots = 10000
	manyPolicy    = "{last: 5, hourly: 48, daily: 60, weekly: 52, monthly: 24}"
)

// many lists 10,000 snapshots and plans to prune them: as 2,000 sets of 5 volumes, beside as many of btrbk's too, and as
// 10,000 sets of one.
func (b *bench) many(ctx context.Context) error {
	for _, volumes := range []int{5, 1} {
		if err := b.manySets(ctx, volumes); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) manySets(ctx context.Context, volumes int) (err error) {
	mnt, unmount, err := testhost.NewBtrfs(diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	sets := manySnapshots / volumes
	dir := filepath.Join(filepath.Dir(b.bin), fmt.Sprint("many", volumes))
	s, err := newStore(mnt, dir, volumes, sets, manyPolicy)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = s.fill(ctx, 0, sets, func(i int) { b.out.progress("many: %d of %d sets of %d volumes", i, sets, volumes) })
	if err != nil {
		return err
	}
	b.out.progress("many: made in %s", time.Since(begin))
	title := fmt.Sprintf("%d snapshots: %d sets of %d", manySnapshots, sets, volumes)
	if err := b.listings(ctx, s, title+", nothing else on the file system", false); err != nil {
		return err
	}
	if err := b.runBeside(ctx, s, title); err != nil {
		return err
	}
	if volumes == 1 {
		return nil // beside btrbk's it differs no more than above
	}
	if err := s.fillBtrbk(sets); err != nil {
		return err
	}
	return b.listings(ctx, s, title+", and as many of btrbk's beside them", true)
}

// listings runs the programs in turn.
func (b *bench) listings(ctx context.Context, s *store, title string, btrbk bool) error {
	volsnap := []string{b.bin, "--config", s.config, "--log-level", "error"}
	all := []struct {
		name string
		argv []string
	}{
		{"`volsnap list --json`", append(volsnap, "list", s.app, "--json")},
		{"`volsnap prune --dry-run --json`", append(volsnap, "prune", s.app, "--dry-run", "--json")},
		{"`btrfs subvolume list -s`", []string{"btrfs", "subvolume", "list", "-s", s.mnt}},
		{"`btrfs subvolume list -o`", []string{"btrfs", "subvolume", "list", "-o", s.mnt}},
	}
	if btrbk {
		conf := []string{"btrbk", "-c", s.btrbkConfig(), "-q"}
		all = append(all, []struct {
			name string
			argv []string
		}{
			{"`btrbk list snapshots`", append(conf, "list", "snapshots")},
			{"`btrbk -n prune`", append(conf, "-n", "prune")},
			{"`btrbk -n run`", append(conf, "-n", "run")},
		}...)
	}
	took, worked := make([]sample, len(all)), make([]sample, len(all))
	memory := make([]int64, len(all))
	for i := range b.times(manyRuns) {
		for k := range all {
			at := (i + k) % len(all)
			used, err := measure(ctx, all[at].argv)
			if err != nil {
				return err
			}
			took[at] = append(took[at], used.wall)
			worked[at] = append(worked[at], used.cpu)
			memory[at] = max(memory[at], used.memory)
			b.out.progress("many: %s: %s", all[at].name, used.wall)
		}
	}
	var rows [][]string
	for i, one := range all {
		row := append([]string{one.name}, took[i].cells()...)
		rows = append(rows, append(row, ratio(took[0], took[i]), ratio(took[1], took[i]), milliseconds(worked[i].median()), mebibytes(memory[i])))
	}
	b.out.table(title, append(append([]string{""}, statistics...), "volsnap list is × this", "volsnap prune is × this", "CPU time, median", "peak memory"), rows)
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

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func (s *store) btrbkConfig() string { return filepath.Join(s.dir, "btrbk.conf") }

// fillBtrbk makes as many snapshots again as btrbk would: read-only, under its names, and with about the same policy.
func (s *store) fillBtrbk(sets int) error {
	conf := fmt.Sprintf(`timestamp_format long-iso
snapshot_create ondemand
snapshot_preserve_min 5h
snapshot_preserve 48h 60d 52w 24m
lockfile %s
volume %s
`, filepath.Join(s.dir, "btrbk.lock"), s.mnt)
	for _, ds := range s.datasets {
		name := filepath.Base(ds.Name)
		conf += fmt.Sprintf("  subvolume %s\n    snapshot_dir btrbk/%s\n", name, name)
	}
	err := each(len(s.datasets), func(k int) error {
		from := s.datasets[k].Name
		to := filepath.Join(s.mnt, "btrbk", filepath.Base(from))
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		for i := range sets {
			at := s.first.Add(setInterval * time.Duration(i)).UTC().Format("20060102T150405+0000")
			if err := dennwc.SnapshotSubVolume(from, filepath.Join(to, filepath.Base(from)+"."+at), true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(s.btrbkConfig(), []byte(conf), 0o600)
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
	if err != nil {
		return u, fmt.Errorf("%s: %w", argv, err)
	}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss << 10
	}
	return u, nil
}
