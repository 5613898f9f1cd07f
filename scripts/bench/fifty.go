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

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	fiftyRuns  = 60
	dirtyBytes = 1 << 20
)

// fifty takes groups of 3 and of 50 datasets in turn, with nothing dirty and with 1 MiB of dirty data in each.
func (b *bench) fifty(ctx context.Context) (err error) {
	mnt, unmount, err := testhost.NewBtrfs(diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	s, err := newStore(mnt, filepath.Join(filepath.Dir(b.bin), "fifty"), 50, 4*fiftyRuns, "{last: 1}")
	if err != nil {
		return err
	}
	three := *s
	three.datasets = s.datasets[:3]
	var rows [][]string
	set := 0
	for _, dirty := range []bool{false, true} {
		var few, many, bareFew, bareMany sample
		for i := range b.times(fiftyRuns) {
			b.out.progress("fifty: round %d, dirty %t", i+1, dirty)
			for _, one := range []struct {
				*store
				took *sample
				bare *sample
			}{{&three, &few, &bareFew}, {s, &many, &bareMany}} {
				set++
				took, err := one.takeOnce(ctx, set, dirty)
				if err != nil {
					return err
				}
				*one.took = append(*one.took, took)
				if took, err = one.takeBare(ctx, set, dirty); err != nil {
					return err
				}
				*one.bare = append(*one.bare, took)
			}
		}
		state := "nothing dirty"
		if dirty {
			state = "1 MiB dirty in each"
		}
		rows = append(rows,
			append(append([]string{"3 volumes, " + state}, few.cells()...), "1.00"),
			append(append([]string{"50 volumes, " + state}, many.cells()...), ratio(many, few)),
			append(append([]string{"3 volumes, " + state + ", nothing but the ioctls"}, bareFew.cells()...), "1.00"),
			append(append([]string{"50 volumes, " + state + ", nothing but the ioctls"}, bareMany.cells()...), ratio(bareMany, bareFew)))
	}
	b.out.table("All snapshots of a set, without the pauses", append(append([]string{""}, statistics...), "× 3 volumes"), rows)
	return nil
}

// takeOnce measures the part that runs while the writers are paused.
func (s *store) takeOnce(ctx context.Context, i int, dirty bool) (took time.Duration, err error) {
	req, err := s.request(i)
	if err != nil {
		return 0, err
	}
	g, err := s.driver.Prepare(ctx, req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	if err := s.dirty(ctx, i, dirty); err != nil {
		return 0, err
	}
	begin := time.Now()
	snaps, err := g.Take(ctx)
	took = time.Since(begin)
	if err != nil {
		return took, err
	}
	return took, errors.Join(s.driver.Seal(ctx, "frozen", snaps...))
}

// takeBare makes the same snapshots at once, and does nothing else.
func (s *store) takeBare(ctx context.Context, i int, dirty bool) (time.Duration, error) {
	to := filepath.Join(s.mnt, "bare", fmt.Sprint(i))
	if err := separate(to, len(s.datasets)); err != nil {
		return 0, err
	}
	if err := s.dirty(ctx, i, dirty); err != nil {
		return 0, err
	}
	before := runtime.GOMAXPROCS(runtime.NumCPU() + len(s.datasets))
	defer runtime.GOMAXPROCS(before)
	begin := time.Now()
	err := each(len(s.datasets), func(k int) error {
		return dennwc.SnapshotSubVolume(s.datasets[k].Name, filepath.Join(to, fmt.Sprint(k), "snapshot"), true)
	})
	return time.Since(begin), err
}

// dirty syncs the file system, and then makes it dirty again if wanted.
func (s *store) dirty(ctx context.Context, i int, dirty bool) error {
	if err := syncFS(ctx, s.mnt); err != nil || !dirty {
		return err
	}
	content := slices.Repeat([]byte{byte(i)}, dirtyBytes)
	for _, ds := range s.datasets {
		if err := os.WriteFile(filepath.Join(ds.Name, fmt.Sprint("file", i%20)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
