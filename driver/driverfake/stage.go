package driverfake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// stages is where the stages of all datasets lie.
const stages = "/stages"

// StageOf implements driver.Stager.
func (d *Driver) StageOf(s driver.Snapshot, name string) (driver.Dataset, error) {
	if err := driver.CheckStage(name); err != nil {
		return driver.Dataset{}, fmt.Errorf("stage of %s: %w", s.Name, err)
	}
	return driver.Dataset{Kind: d.kind, Name: stages + s.Dataset.Name + "/" + name}, nil
}

// Stage implements driver.Stager.
func (d *Driver) Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error) {
	if err := d.enter(ctx, "Stage", s.Name, name); err != nil {
		return driver.Stage{}, err
	}
	at, err := d.StageOf(s, name)
	if err != nil {
		return driver.Stage{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, err := d.ours(s)
	if err == nil && d.datasets[at.Name] != nil {
		err = driver.ErrExists
	}
	if err != nil {
		return driver.Stage{}, fmt.Errorf("stage %s: %w", s.Name, err)
	}
	made := &dataset{guid: d.newGUID(), pool: "pool", files: maps.Clone(have.files)}
	err = d.effect("stage", at.Name, func() { d.datasets[at.Name] = made })
	return driver.Stage{Dataset: at, GUID: made.guid}, err
}

// Identity implements driver.Stager.
func (d *Driver) Identity(ctx context.Context, ds driver.Dataset) (string, error) {
	if err := d.enter(ctx, "Identity", ds.Name); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have := d.datasets[ds.Name]
	if have == nil {
		return "", fmt.Errorf("identify %s: %w", ds, driver.ErrNotFound)
	}
	return have.guid, nil
}

// Attach implements driver.Stager: nothing of a stage is anywhere but in memory, see Read.
func (d *Driver) Attach(context.Context, driver.Stage, string) (string, error) {
	return "", driver.ErrNotSupported
}

// Detach implements driver.Stager.
func (d *Driver) Detach(context.Context, driver.Stage, string) error { return nil }

// Swap implements driver.Stager.
func (d *Driver) Swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	if err := d.enter(ctx, "Swap", ds.Name, stage.Name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at, aside := d.datasets[ds.Name], d.datasets[stage.Name]
	switch {
	case at == nil:
		return fmt.Errorf("swap %s: %w", ds, driver.ErrNotFound)
	case at.guid == guid:
		return nil
	case aside == nil:
		return fmt.Errorf("swap %s: %w", stage, driver.ErrNotFound)
	case aside.guid != guid || !strings.HasPrefix(stage.Name, stages+"/"):
		return fmt.Errorf("swap %s and %s: %w", ds, stage, driver.ErrForeign)
	}
	return d.effect("swap", stage.Name, func() { d.datasets[ds.Name], d.datasets[stage.Name] = aside, at })
}

// Settle implements driver.Stager.
func (d *Driver) Settle(ctx context.Context, st driver.Stage, _, at string) (driver.Dataset, error) {
	to := driver.Dataset{Kind: d.kind, Name: at}
	if err := d.enter(ctx, "Settle", st.Dataset.Name, at); err != nil {
		return to, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have := d.datasets[st.Dataset.Name]
	switch {
	case have == nil:
		return to, fmt.Errorf("settle %s: %w", st.Dataset, driver.ErrNotFound)
	case have.guid != st.GUID:
		return to, fmt.Errorf("settle %s: %w", st.Dataset, driver.ErrForeign)
	case d.datasets[at] != nil:
		return to, fmt.Errorf("settle %s at %s: %w", st.Dataset, at, driver.ErrExists)
	}
	return to, d.effect("settle", st.Dataset.Name, func() {
		d.datasets[at] = have
		delete(d.datasets, st.Dataset.Name)
	})
}

// Discard implements driver.Stager.
func (d *Driver) Discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	if err := d.enter(ctx, "Discard", st.Dataset.Name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.HasPrefix(st.Dataset.Name, stages+"/") {
		return fmt.Errorf("discard %s: %w", st.Dataset, driver.ErrForeign)
	}
	have := d.datasets[st.Dataset.Name]
	if have == nil {
		return nil
	}
	if have.guid != st.GUID {
		return fmt.Errorf("discard %s: %w", st.Dataset, driver.ErrForeign)
	}
	if since != nil {
		kept, err := d.ours(*since)
		if err != nil || !maps.Equal(kept.files, have.files) {
			return fmt.Errorf("discard %s: %w", st.Dataset, driver.ErrChanged)
		}
	}
	return d.effect("discard", st.Dataset.Name, func() { delete(d.datasets, st.Dataset.Name) })
}

// Stages are the names of the stages that there are, sorted.
func (d *Driver) Stages() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.datasets {
		if strings.HasPrefix(name, stages+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
