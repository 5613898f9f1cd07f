package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/state"
)

// journal is what a drill has made, or is about to make. It lies in the state directory: stages and containers outlive a reboot.
type journal struct {
	Version   int      `json:"version"`
	App       string   `json:"app"`
	From      string   `json:"from"`
	Set       string   `json:"set"`
	Token     string   `json:"token"`     // of this drill alone
	Container string   `json:"container"` // its name, once it is about to be made; it carries the token as a label
	Stages    []staged `json:"stages"`
}

// staged is one clone.
type staged struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	GUID string `json:"guid"` // empty: it is about to be made, or was just made. Its name is nobody else's
	Dir  string `json:"dir"`  // an empty directory, for storages that mount it
}

const (
	journalVersion = 1
	journalLimit   = 1 << 20
	label          = docker.LabelDrill // of containers; the value is the token
	cleanupLimit   = 2 * time.Minute
	busyLimit      = 15 * time.Second
)

func (d *Drill) journalPath(app string) string {
	return filepath.Join(d.StateDir, "drills", app+".json")
}

// RecoverAll removes what killed drills left, of whatever app, unless another one of it is at work: an app may have been taken out of the
// configuration since.
func (d *Drill) RecoverAll(ctx context.Context) error {
	found, err := os.ReadDir(filepath.Dir(d.journalPath("")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range found {
		app, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(app, ".") { // one that was about to be written
			continue
		}
		lock, err := state.LockApp(ctx, d.RunDir, lockName(app))
		if errors.Is(err, state.ErrLocked) {
			continue
		}
		if err == nil {
			err = errors.Join(d.recover(ctx, app), lock.Release())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// left reads the journal that a killed drill left, nil if there is none.
func (d *Drill) left(app string) (*journal, error) {
	path := d.journalPath(app)
	data, err := state.ReadFile(path, journalLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal of a drill: %w", err)
	}
	j := &journal{}
	if err := json.Unmarshal(data, j); err != nil || j.Version != journalVersion || j.App != app || len(j.Token) < tokenSize {
		return nil, fmt.Errorf("%s: %w: look for containers with the label %s and for stages by hand, then remove it", path, ErrDamaged, label)
	}
	return j, nil
}

func (d *Drill) write(j *journal) error {
	data, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return err
	}
	return state.WriteFile(d.journalPath(j.App), append(data, '\n'), 0o600)
}

// recover removes what a killed drill left. The caller has the lock.
func (d *Drill) recover(ctx context.Context, app string) error {
	if err := state.Sweep(filepath.Dir(d.journalPath(app)), filepath.Base(d.journalPath(app))); err != nil {
		return err
	}
	j, err := d.left(app)
	if err != nil || j == nil {
		return err
	}
	if err := d.remove(ctx, j); err != nil {
		return err
	}
	zerolog.Ctx(ctx).Warn().Str("set", j.Set).Msg("removed what a killed drill had left")
	return nil
}

// remove takes away all that a journal names, and then the journal. It goes on when ctx has ended, for a while.
func (d *Drill) remove(ctx context.Context, j *journal) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	var errs []error
	container := func() {
		if j.Container != "" {
			errs = append(errs, d.Docker.RemoveThrowaway(ctx, j.Container, label, j.Token))
		}
	}
	container()
	for _, s := range j.Stages {
		errs = append(errs, d.discard(ctx, j, s))
	}
	container() // Docker may have been about to make it when the drill was killed
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w (%s): %w", ErrLeftBy, d.journalPath(j.App), err)
	}
	fault.Point("before removal of a drill's journal")
	return state.Remove(d.journalPath(j.App))
}

// discard ends what runs in a stage, and destroys it.
func (d *Drill) discard(ctx context.Context, j *journal, s staged) error {
	by, err := d.stagerFor(j.From, s.Kind)
	if err != nil {
		return err
	}
	st := driver.Stage{Dataset: driver.Dataset{Kind: s.Kind, Name: s.Name}, GUID: s.GUID}
	if st.GUID == "" {
		st.GUID, err = by.Identity(ctx, st.Dataset)
		if errors.Is(err, driver.ErrNotFound) {
			return d.removeDir(s.Dir)
		}
		if err != nil {
			return err
		}
	}
	fault.Point("before discard of a stage")
	if err := destroy(ctx, by, st, s.Dir, privateName(j.Token)); err != nil {
		return err
	}
	fault.Point("after discard of a stage")
	return d.removeDir(s.Dir)
}

// stagerFor is what made a stage. A target that is not configured any more, or elsewhere by now, is no reason to leave its stages: the
// host's driver knows them too.
func (d *Drill) stagerFor(from, kind string) (driver.Stager, error) {
	by, err := d.stagerAt(from, kind)
	if err != nil && from != "" {
		if own, err := d.stagerAt("", kind); err == nil {
			return own, nil
		}
	}
	return by, err
}

func (d *Drill) stagerAt(from, kind string) (driver.Stager, error) {
	src, err := d.Open(from)
	if err != nil {
		return nil, err
	}
	return src.Stager(kind)
}

// destroy tries again for a while when a stage is in use: the kernel takes down a server's namespaces a moment after its end, and what
// a killed drill was about to start may start only now.
func destroy(ctx context.Context, by driver.Stager, st driver.Stage, dir, private string) error {
	ctx, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	for {
		err := endPrivates(ctx, private)
		if err == nil {
			err = by.Detach(ctx, st, dir)
		}
		if err == nil {
			err = by.Discard(ctx, st, nil)
		}
		if !errors.Is(err, driver.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

func (d *Drill) removeDir(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
