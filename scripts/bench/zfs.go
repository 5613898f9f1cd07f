package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// onZFS is storage by file systems of a pool.
type onZFS struct{}

func (onZFS) facts() facts {
	return facts{
		class: string(snapset.Atomic), alone: "nothing but one `zfs snapshot`",
		script:    `zfs snapshot $(printf "%s@$TAG " $SOURCES)`,
		fiftyRuns: 60, fiftyCounts: []int{3, 50}, fiftyDirty: []bool{false, true},
		snapshots: 5000, volumes: []int{50},
	}
}

func (onZFS) driver() driver.Driver                  { return zfs.New() }
func (onZFS) maker(p *testhost.Pool) fixture.Storage { return fixture.StorageOn(p) }

func (onZFS) dataset(p *testhost.Pool, path string) string { return p.Name + "/" + filepath.Base(path) }

func (onZFS) flush(ctx context.Context, p *testhost.Pool, _ []string) error {
	return runOnly(ctx, "zpool", "sync", p.Name)
}

func (onZFS) bare(datasets []string, to string) (func(context.Context) error, error) {
	return func(ctx context.Context) error { return snapshotZFS(ctx, datasets, tag(to)) }, nil
}

func snapshotZFS(ctx context.Context, datasets []string, name string) error {
	argv := []string{"zfs", "snapshot"}
	for _, ds := range datasets {
		argv = append(argv, ds+"@"+name)
	}
	return runOnly(ctx, argv...)
}

func (onZFS) discard(context.Context, []string, string) error { return nil }

func (o onZFS) settle(ctx context.Context, snaps []driver.Snapshot) error {
	return o.driver().Seal(ctx, string(snapset.Atomic), snaps...)
}

// lists has the three columns that say which snapshots there are, and those that say whose they are as well.
func (onZFS) lists(p *testhost.Pool) []program {
	const more = ",createtxg,userrefs,volsnap:sealed,volsnap:record,volsnap:record.2,volsnap:record.3,volsnap:record.4"
	list := func(columns string) []string {
		return []string{"zfs", "list", "-Hp", "-t", "snapshot", "-o", columns, "-r", p.Name}
	}
	return []program{
		{name: "`zfs list -t snapshot -o name,guid,creation`", argv: list("name,guid,creation")},
		{name: "the same, with the columns that volsnap reads", argv: list("name,guid,creation" + more)},
	}
}

// sanoidKeeps is how many snapshots of each dataset sanoid is to keep.
const sanoidKeeps = 48

// rival makes snapshots by sanoid's names. It judges them by when they were created, which is now: for that it has about as
// much to prune as volsnap, the older ones have a type of which it keeps none. Before it prunes a snapshot it starts ps, to see
// whether its dataset is being sent; with --force-prune it does not.
func (onZFS) rival(ctx context.Context, s *store, sets int) (string, []program, error) {
	for i := range sets {
		kind := "frequently"
		if i >= sets-sanoidKeeps {
			kind = "hourly"
		}
		at := s.first.Add(setInterval * time.Duration(i)).UTC().Format("2006-01-02_15:04:05")
		if err := snapshotZFS(ctx, s.datasets, "autosnap_"+at+"_"+kind); err != nil {
			return "", nil, err
		}
	}
	conf := fmt.Sprintf(`[%s]
use_template = bench
recursive = yes
process_children_only = yes
[template_bench]
frequently = 0
hourly = %d
daily = 60
weekly = 52
monthly = 24
daily_warn = 0
daily_crit = 0
weekly_warn = 0
weekly_crit = 0
monthly_warn = 0
monthly_crit = 0
autosnap = no
autoprune = yes
`, s.pool.Name, sanoidKeeps)
	dir := filepath.Join(s.dir, "sanoid")
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "sanoid.conf"), []byte(conf), 0o600))
	sanoid := func(args ...string) []string {
		return append([]string{"sanoid", "--configdir", dir, "--cache-dir", filepath.Join(dir, "cache"), "--run-dir", filepath.Join(dir, "run")}, args...)
	}
	cache := filepath.Join(dir, "cache", "snapshots.txt")
	cold := func(context.Context) error { return os.RemoveAll(filepath.Dir(cache)) }
	warm := func(ctx context.Context) error { // sanoid takes its cache for good for 15 minutes
		now := time.Now()
		if os.Chtimes(cache, now, now) == nil {
			return nil
		}
		return runOnly(ctx, sanoid("--monitor-snapshots")...)
	}
	prune := sanoid("--prune-snapshots", "--readonly")
	return "sanoid", []program{
		{name: "`sanoid --monitor-snapshots`, no cache", argv: sanoid("--monitor-snapshots"), ready: cold},
		{name: "`sanoid --monitor-snapshots`, cached", argv: sanoid("--monitor-snapshots"), ready: warm},
		{name: "`sanoid --prune-snapshots --readonly --force-prune`, cached", argv: append(slices.Clone(prune), "--force-prune"), ready: warm},
		{name: "`sanoid --prune-snapshots --readonly`, cached", argv: prune, ready: warm, most: 1},
	}, err
}
