package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// Stages is the file that names the stages of one app that somebody is about to make and has not settled yet, so that what a killed
// process leaves of them is found.
type Stages struct{ path string }

// StagesOf are those of app.
func StagesOf(stateDir, app string) Stages {
	return Stages{filepath.Join(stateDir, "restores", app+".stages.json")}
}

// note writes down which stages are about to be made.
func (s Stages) note(these []driver.Dataset) error {
	text, err := json.Marshal(these)
	if err != nil {
		return err
	}
	return state.WriteFile(s.path, append(text, '\n'), 0o600)
}

// Remove discards the stages that are noted and there still, and the note. The caller holds the app's lock.
func (s Stages) Remove(ctx context.Context, storages map[string]Storage) error {
	text, err := state.ReadFile(s.path, journalLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var noted []driver.Dataset
	if err := json.Unmarshal(text, &noted); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, s.path, err)
	}
	var errs []error
	for _, ds := range noted {
		by, ok := storages[ds.Kind]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: no driver for it", ds))
			continue
		}
		guid, err := by.Identity(ctx, ds)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = by.Discard(ctx, driver.Stage{Dataset: ds, GUID: guid}, nil)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what a killed restore had made: %w", err)
	}
	return state.Remove(s.path)
}
