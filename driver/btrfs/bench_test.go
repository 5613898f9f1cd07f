package btrfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	dennwc "github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/internal/testhost"
)

// BenchmarkList lists 10,000 snapshots of 10 datasets, beside the bare search of the tree of roots and dennwc's list.
func BenchmarkList(b *testing.B) {
	top := testhost.Btrfs(b, 4<<30)
	datasets := benchDatasets(b, top, 10)
	for i := range 1000 {
		benchSet(b, i, datasets)
	}
	d := New()
	b.Run("volsnap", func(b *testing.B) {
		for b.Loop() {
			got, err := d.Snapshots(b.Context(), datasets...)
			if err != nil || len(got) != 10000 {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("search", func(b *testing.B) {
		f, err := openDir(top)
		if err != nil {
			b.Fatal(err)
		}
		defer closeAll(f)
		for b.Loop() {
			if got, err := subvolsNamed(f, func(string) bool { return true }); err != nil || len(got) != 10010 {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("dennwc", func(b *testing.B) {
		f, err := dennwc.Open(top, true)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for b.Loop() {
			if got, err := f.ListSubvolumes(nil); err != nil || len(got) < 10000 {
				b.Fatal(len(got), err)
			}
		}
	})
}

// BenchmarkTake makes one group, one after another and at once, with and without dirty data.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{3, 50} {
		for _, dirty := range []int{0, 1 << 20} {
			for _, limit := range []int{1, takers} {
				b.Run(fmt.Sprintf("datasets=%d/dirty=%d/parallel=%d", n, dirty, limit), func(b *testing.B) {
					benchTake(b, n, dirty, limit)
				})
			}
		}
	}
}

func benchTake(b *testing.B, n, dirty, limit int) {
	top := testhost.Btrfs(b, 4<<30)
	datasets := benchDatasets(b, top, n)
	content := make([]byte, dirty)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		g, err := prepare(b.Context(), benchRequest(b, i, datasets))
		if err != nil {
			b.Fatal(err)
		}
		g.parallel = limit
		for _, ds := range datasets {
			if err := os.WriteFile(filepath.Join(ds.Name, "dirty"), content, 0o600); dirty > 0 && err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		begun := time.Now()
		if err := g.Take(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
		if err := g.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
}

// BenchmarkDestroy destroys 2,000 snapshots while somebody else writes 4 kB and syncs, over and over.
func BenchmarkDestroy(b *testing.B) {
	for _, pace := range []driver.Pace{
		{Batch: 0, Rest: 0},
		{Batch: 2000, Rest: 0},
		{Batch: 200, Rest: 0},
		{Batch: 50, Rest: 0},
		{Batch: 50, Rest: 50 * time.Millisecond},
		{Batch: 25, Rest: 25 * time.Millisecond},
		{Batch: 25, Rest: 100 * time.Millisecond},
		{Batch: 10, Rest: 50 * time.Millisecond},
	} {
		b.Run(fmt.Sprintf("batch=%d/rest=%s", pace.Batch, pace.Rest), func(b *testing.B) {
			for b.Loop() {
				benchDestroy(b, &Driver{kept{pace: pace}})
			}
		})
	}
}

func benchDestroy(b *testing.B, d *Driver) {
	b.StopTimer()
	top := testhost.Btrfs(b, 4<<30)
	datasets := benchDatasets(b, top, 10)
	for i := range 200 {
		for _, ds := range datasets { // so that each snapshot holds something of its own
			if err := os.WriteFile(filepath.Join(ds.Name, fmt.Sprint("f", i%20)), make([]byte, 64<<10), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		benchSet(b, i, datasets)
	}
	all, err := New().Snapshots(b.Context(), datasets...)
	if err != nil || len(all) != 2000 {
		b.Fatal(len(all), err)
	}
	var done atomic.Bool
	var took []time.Duration
	var eg errgroup.Group
	eg.Go(func() (err error) {
		took, err = foreground(datasets[0].Name, &done)
		return err
	})
	b.StartTimer()
	if d.pace.Batch > 0 {
		err = d.Destroy(b.Context(), all...)
	} else {
		time.Sleep(3 * time.Second) // what the foreground feels with nothing beside it
	}
	b.StopTimer()
	done.Store(true)
	if err := eg.Wait(); err != nil {
		b.Fatal(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	ms := func(q int) float64 { return float64(took[(len(took)-1)*q/100].Microseconds()) / 1e3 }
	b.ReportMetric(ms(50), "fsync-median-ms")
	b.ReportMetric(ms(99), "fsync-p99-ms")
	b.ReportMetric(ms(100), "fsync-max-ms")
	b.StartTimer()
}

func foreground(dir string, done *atomic.Bool) ([]time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "foreground"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var took []time.Duration
	for page := make([]byte, 4096); !done.Load(); {
		begun := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		time.Sleep(5 * time.Millisecond)
	}
	return took, nil
}

func benchDatasets(b *testing.B, top string, n int) []driver.Dataset {
	b.Helper()
	var out []driver.Dataset
	for i := range n {
		at := filepath.Join(top, fmt.Sprintf("ds%02d", i))
		if err := dennwc.CreateSubVolume(at); err != nil {
			b.Fatal(err)
		}
		out = append(out, driver.Dataset{Kind: Kind, Name: at})
	}
	return out
}

func benchRequest(b *testing.B, i int, datasets []driver.Dataset) driver.Request {
	b.Helper()
	set, err := driver.NewSetID("bench", time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC))
	if err != nil {
		b.Fatal(err)
	}
	req := driver.Request{Set: set, Of: len(datasets)}
	for k, ds := range datasets {
		req.Items = append(req.Items, driver.Item{
			Dataset: ds, Member: k + 1, Volumes: []driver.Volume{{Name: "bench_" + filepath.Base(ds.Name), Path: "_data"}},
		})
	}
	return req
}

// benchSet makes a sealed set quickly: nothing is synced.
func benchSet(b *testing.B, i int, datasets []driver.Dataset) {
	b.Helper()
	all, err := mountinfo.Read()
	if err != nil {
		b.Fatal(err)
	}
	g := &group{set: benchRequest(b, i, nil).Set}
	if err := g.open(b.Context(), mountsOf(all), benchRequest(b, i, datasets)); err != nil {
		b.Fatal(err)
	}
	if err := g.openStores(b.Context()); err != nil {
		b.Fatal(err)
	}
	g.unlock()
	for _, m := range g.members {
		if m.dir, err = makePrivate(g.stores[topOf(m.home)], keyOf(m.inside)); err != nil {
			b.Fatal(err)
		}
	}
	made, err := driver.Take(b.Context(), g)
	if err != nil {
		b.Fatal(err)
	}
	for i, m := range g.members {
		sealed := m.record
		sealed.GUID, sealed.Sealed, sealed.Consistency, sealed.Taken = made[i].GUID, true, "frozen", made[i].Taken.UTC()
		for _, r := range []record{m.record, sealed} {
			text, err := r.encode()
			if err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(m.dir.Name(), m.name()+r.ext()), text, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := g.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
