package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

const (
	makers      = 4         // sets that are made at a time
	fileBytes   = 64 << 10  // that each set has of its own
	setInterval = time.Hour // between one set and the next, by their names
)

// store is a pool with the datasets of one app, and volsnap's configuration for it.
type store struct {
	storage
	app      string // another one for each store: volsnap lists every pool of the host
	pool     *testhost.Pool
	dir      string // for configuration and state
	config   string
	paths    []string  // where the datasets are seen
	datasets []string  // their names
	first    time.Time // of the sets; they end now
}

// newStore makes n datasets in the pool.
func newStore(ctx context.Context, on storage, pool *testhost.Pool, dir string, n, sets int, keep string) (*store, error) {
	s := &store{
		storage: on, app: fmt.Sprintf("bench-%d-%s", os.Getpid(), filepath.Base(dir)), pool: pool, dir: dir, config: filepath.Join(dir, "volsnap.yaml"),
		first: time.Now().Add(-setInterval * time.Duration(sets+1)).Truncate(time.Hour),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("version: 1\nstate_dir: %q\nrun_dir: %q\napps:\n  %s:\n    volumes:\n",
		filepath.Join(dir, "state"), filepath.Join(dir, "run"), s.app)
	for i := range n {
		at := filepath.Join(pool.Top, fmt.Sprintf("ds%03d", i))
		if err := on.maker(pool).MakeDataset(ctx, at); err != nil {
			return nil, fmt.Errorf("make %s: %w", at, err)
		}
		s.paths, s.datasets = append(s.paths, at), append(s.datasets, on.dataset(pool, at))
		text += fmt.Sprintf("      - path: %q\n", at)
	}
	text += "    freeze:\n      steps: []\n    keep: "
	return s, errors.Join(
		os.WriteFile(s.config, []byte(text+keep+"\n"), 0o600), os.WriteFile(s.keepAll(), []byte(text+"{last: -1}\n"), 0o600),
	)
}

// only is the store with its first n datasets alone.
func (s *store) only(n int) *store {
	less := *s
	less.paths, less.datasets = s.paths[:n], s.datasets[:n]
	return &less
}

// ours are all snapshots of the store's that volsnap knows.
func (s *store) ours(ctx context.Context) ([]driver.Snapshot, error) {
	d := s.driver()
	var all []driver.Dataset
	for _, name := range s.datasets {
		all = append(all, driver.Dataset{Kind: d.Kind(), Name: name})
	}
	return d.Snapshots(ctx, all...)
}

// keepAll is a configuration that prunes nothing.
func (s *store) keepAll() string { return s.config + ".all" }

func (s *store) request(i int) (driver.Request, error) {
	set, err := driver.NewSetID(s.app, s.first.Add(setInterval*time.Duration(i)))
	req := driver.Request{Set: set, Of: len(s.datasets)}
	kind := s.driver().Kind()
	for k, name := range s.datasets {
		ds := driver.Dataset{Kind: kind, Name: name}
		req.Items = append(req.Items, driver.Item{Dataset: ds, Member: k + 1, Volumes: []driver.Volume{{Name: s.paths[k], Path: "."}}})
	}
	return req, err
}

// fill makes sets by the driver, with records, manifests, and something of its own in each.
func (s *store) fill(ctx context.Context, from, to int, progress func(int)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(makers)
	for i := from; i < to; i++ {
		if (i-from)%500 == 0 {
			progress(i)
		}
		g.Go(func() error { return s.make(ctx, i) })
	}
	return g.Wait()
}

func (s *store) make(ctx context.Context, i int) (err error) {
	for _, at := range s.paths {
		if err := change(at, i); err != nil {
			return err
		}
	}
	req, err := s.request(i)
	if err != nil {
		return err
	}
	g, err := s.prepare(ctx, req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	snaps, err := driver.Take(ctx, g)
	if err != nil {
		return err
	}
	class := s.facts().class
	if err := (snapset.Store{Dir: filepath.Join(s.dir, "state")}).Write(manifest(req.Set, class, snaps)); err != nil {
		return err
	}
	return s.driver().Seal(ctx, class, snaps...)
}

// prepare tries again while another set is being prepared.
func (s *store) prepare(ctx context.Context, req driver.Request) (driver.Group, error) {
	for {
		g, err := s.driver().Prepare(ctx, req)
		if !errors.Is(err, driver.ErrBusy) || ctx.Err() != nil {
			return g, err
		}
	}
}

func change(at string, i int) error {
	return os.WriteFile(filepath.Join(at, fmt.Sprint("file", i%20)), make([]byte, fileBytes), 0o600)
}

// manifest is as full as that of a Core Channel Node.
func manifest(set driver.SetID, class string, snaps []driver.Snapshot) *snapset.Manifest {
	m := &snapset.Manifest{
		ID: set, App: set.App(), Created: set.Time(), Complete: true, Consistency: snapset.Consistency(class), Pins: []string{}, PauseMS: 87.654,
		Checkpoints: []snapset.Checkpoint{{Container: "pyaleph-postgres-1", LSN: "0/1A2B3C8", TookMS: 123.456}},
	}
	for _, name := range []string{"pyaleph-pyaleph-1", "pyaleph-pyaleph-api-1", "pyaleph-ipfs-1", "pyaleph-postgres-1"} {
		m.Containers = append(m.Containers, snapset.ContainerPause{Name: name, Step: "pause", PausedMS: 76.543})
	}
	for _, one := range snaps {
		m.Members = append(m.Members, snapset.Members(one)...)
	}
	return m
}
