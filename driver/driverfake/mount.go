package driverfake

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/volsnap/volsnap/driver"
)

// Mount implements driver.Driver: it writes the snapshot's files into dir, and unmount removes them.
func (d *core) Mount(
	ctx context.Context, s driver.Snapshot, dir string,
) (unmount func(context.Context) error, err error) {
	if err := d.enter(ctx, "Mount", s.Name, dir); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, err := d.ours(s)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", s.Name, err)
	}
	if in, err := os.ReadDir(dir); err != nil || len(in) > 0 {
		return nil, fmt.Errorf("mount %s: want an empty directory: %s: %w", s.Name, dir, driver.ErrExists)
	}
	if err := d.effect("mount", s.Name, func() { have.mounts++ }); err != nil {
		return nil, err
	}
	for name, content := range have.files {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, []byte(content), 0o444); err != nil {
			return nil, err
		}
	}
	return d.unmount(have, dir), nil
}

func (d *core) unmount(s *snapshot, dir string) func(context.Context) error {
	var once sync.Once
	return func(ctx context.Context) error {
		if err := d.enter(ctx, "Unmount", s.Name, dir); err != nil {
			return err
		}
		var err error
		once.Do(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err = d.effect("unmount", s.Name, func() { s.mounts-- }); err != nil {
				return
			}
			in, _ := os.ReadDir(dir)
			for _, e := range in {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		})
		return err
	}
}

// Clone implements driver.Driver.
func (d *Driver) Clone(ctx context.Context, s driver.Snapshot, to driver.Dataset) error {
	if err := d.enter(ctx, "Clone", s.Name, to.Name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, err := d.ours(s)
	if err != nil {
		return fmt.Errorf("clone %s: %w", s.Name, err)
	}
	if d.datasets[to.Name] != nil {
		return fmt.Errorf("clone %s to %s: %w", s.Name, to, driver.ErrExists)
	}
	pool := "pool"
	if from := d.datasets[s.Dataset.Name]; from != nil {
		pool = from.pool
	}
	return d.effect("clone", to.Name, func() {
		d.datasets[to.Name] = &dataset{guid: d.newGUID(), pool: pool, files: maps.Clone(have.files)}
	})
}
