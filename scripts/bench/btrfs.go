package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// onBtrfs is storage by subvolumes.
type onBtrfs struct{}

func (onBtrfs) facts() facts {
	return facts{
		class: string(snapset.Frozen), alone: "nothing but the ioctls",
		script:    `for s in $SOURCES; do btrfs subvolume snapshot -r "$s" "$TO/${s##*/}" >/dev/null; done`,
		fiftyRuns: 60, fiftyCounts: []int{3, 50}, fiftyDirty: []bool{false, true},
		snapshots: 10000, volumes: []int{5, 1},
	}
}

func (onBtrfs) driver() driver.Driver                        { return btrfs.New() }
func (onBtrfs) maker(p *testhost.Pool) fixture.Storage       { return fixture.StorageOn(p) }
func (onBtrfs) dataset(_ *testhost.Pool, path string) string { return path }

func (onBtrfs) flush(ctx context.Context, p *testhost.Pool, _ []string) error {
	return runOnly(ctx, "sync", "-f", p.Top)
}

// bare makes all at once, each in a directory of its own: into one directory the kernel makes one after the other.
func (onBtrfs) bare(datasets []string, to string) (func(context.Context) error, error) {
	for i := range datasets {
		if err := os.MkdirAll(filepath.Join(to, fmt.Sprint(i)), 0o700); err != nil {
			return nil, err
		}
	}
	return func(context.Context) error {
		return each(len(datasets), func(i int) error {
			return dennwc.SnapshotSubVolume(datasets[i], filepath.Join(to, fmt.Sprint(i), "snapshot"), true)
		})
	}, nil
}

func (onBtrfs) discard(context.Context, []string, string) error { return nil }

func (o onBtrfs) settle(ctx context.Context, snaps []driver.Snapshot) error {
	return o.driver().Seal(ctx, string(snapset.Frozen), snaps...)
}

func (onBtrfs) lists(p *testhost.Pool) []program {
	return []program{
		{name: "`btrfs subvolume list -s`", argv: []string{"btrfs", "subvolume", "list", "-s", p.Top}},
		{name: "`btrfs subvolume list -o`", argv: []string{"btrfs", "subvolume", "list", "-o", p.Top}},
	}
}

// rival makes snapshots as btrbk would: read-only, under its names, and with about the same policy.
func (onBtrfs) rival(_ context.Context, s *store, sets int) (string, []program, error) {
	conf := fmt.Sprintf(`timestamp_format long-iso
snapshot_create ondemand
snapshot_preserve_min 5h
snapshot_preserve 48h 60d 52w 24m
lockfile %s
volume %s
`, filepath.Join(s.dir, "btrbk.lock"), s.pool.Top)
	for _, from := range s.paths {
		name := filepath.Base(from)
		conf += fmt.Sprintf("  subvolume %s\n    snapshot_dir btrbk/%s\n", name, name)
	}
	err := each(len(s.paths), func(k int) error {
		from := s.paths[k]
		to := filepath.Join(s.pool.Top, "btrbk", filepath.Base(from))
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
	file := filepath.Join(s.dir, "btrbk.conf")
	btrbk := func(args ...string) []string { return append([]string{"btrbk", "-c", file, "-q"}, args...) }
	return "btrbk", []program{
		{name: "`btrbk list snapshots`", argv: btrbk("list", "snapshots")},
		{name: "`btrbk -n prune`", argv: btrbk("-n", "prune")},
		{name: "`btrbk -n run`", argv: btrbk("-n", "run")},
	}, errors.Join(err, os.WriteFile(file, []byte(conf), 0o600))
}
