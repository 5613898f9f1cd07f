package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
)

// Clone is one snapshot of a set as a new dataset.
type Clone struct {
	Snapshot driver.Snapshot
	Fetched  Source // that holds it; nil: its storage
	Name     string // of the dataset, beside the original
	At       string // where its files will be; the directory above it is made
	Volumes  []ClonedVolume
}

// ClonedVolume is a volume that lies in a Clone.
type ClonedVolume struct {
	Of     string // the volume in the set
	Inside string // its path in the clone
	Docker string // the Docker volume to be made; empty: none
	Native bool   // the engine finds it by itself where it is, once it has the name
}

// Path is where the volume's files will be.
func (c Clone) Path(v ClonedVolume) string { return filepath.Join(c.At, v.Inside) }

// DockerVolumes is what Beside asks of an engine.
type DockerVolumes interface {
	Volume(ctx context.Context, name string) (docker.Volume, error)
	CreateVolume(ctx context.Context, v docker.Volume) error
	RemoveVolume(ctx context.Context, name string) error
}

// labelOf says in a Docker volume which set it was made of.
const labelOf = "volsnap.restored-from"

// Beside makes datasets and Docker volumes of a set's snapshots, beside the originals, all of them or none: they appear only when the
// last was cloned. Where one cannot be put in its place then, the error says which are there already. The app's lock is held.
func (w *Work) Beside(ctx context.Context, app string, set driver.SetID, clones []Clone, d DockerVolumes) ([]driver.Dataset, error) {
	if err := nothingThere(ctx, clones, d); err != nil {
		return nil, err
	}
	note := StagesOf(w.StateDir, app)
	var staged []driver.Dataset
	name := "to-" + w.Now().UTC().Format("20060102T150405.000")
	for _, c := range clones {
		from, err := w.sourceOf(c)
		if err != nil {
			return nil, err
		}
		ds, err := from.StageOf(c.Snapshot, name)
		if err != nil {
			return nil, err
		}
		staged = append(staged, ds)
	}
	if err := note.note(staged); err != nil {
		return nil, err
	}
	made, err := w.besides(ctx, set, clones, name, d)
	return made, errors.Join(err, note.Remove(context.WithoutCancel(ctx), w.Storages))
}

func (w *Work) besides(ctx context.Context, set driver.SetID, clones []Clone, name string, d DockerVolumes) ([]driver.Dataset, error) {
	w.stage("cloning " + string(set))
	var stages []driver.Stage
	for _, c := range clones {
		from, err := w.sourceOf(c)
		if err == nil && c.Fetched != nil {
			err = w.volumesIn(ctx, from, c.Snapshot)
		}
		if err != nil {
			return nil, err
		}
		st, err := from.Stage(ctx, c.Snapshot, name)
		if err != nil {
			return nil, err
		}
		stages = append(stages, st)
	}
	var made []driver.Dataset
	for i, c := range clones {
		ds, err := w.settle(ctx, set, c, stages[i], d)
		if err != nil {
			if len(made) > 0 {
				err = fmt.Errorf("%w; these are there already: %q", err, made)
			}
			return made, err
		}
		made = append(made, ds)
	}
	return made, nil
}

func (w *Work) sourceOf(c Clone) (Source, error) {
	if c.Fetched != nil {
		return c.Fetched, nil
	}
	from, ok := w.Storages[c.Snapshot.Dataset.Kind]
	if !ok {
		return nil, fmt.Errorf("%s: no driver for it: %w", c.Snapshot.Dataset, driver.ErrNotSupported)
	}
	return from, nil
}

// nothingThere is ErrExists if something of what is to be made is there.
func nothingThere(ctx context.Context, clones []Clone, d DockerVolumes) error {
	for _, c := range clones {
		if _, err := os.Lstat(c.At); !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("%s: %w: choose another prefix, or remove it", c.At, driver.ErrExists), err)
		}
		for _, v := range c.Volumes {
			if v.Docker == "" {
				continue
			}
			_, err := d.Volume(ctx, v.Docker)
			if err == nil {
				err = fmt.Errorf("the Docker volume %s: %w: choose another prefix, or remove it", v.Docker, driver.ErrExists)
			}
			if !errors.Is(err, docker.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// settle puts a clone in its place, and makes its Docker volumes.
func (w *Work) settle(ctx context.Context, set driver.SetID, c Clone, st driver.Stage, d DockerVolumes) (driver.Dataset, error) {
	if err := os.MkdirAll(filepath.Dir(c.At), 0o711); err != nil {
		return driver.Dataset{}, err
	}
	labels := map[string]string{labelOf: string(set)}
	for _, v := range c.Volumes {
		if v.Docker != "" && v.Native {
			if err := makeRoom(ctx, docker.Volume{Name: v.Docker, Labels: labels}, c.At, c.Path(v), d); err != nil {
				return driver.Dataset{}, err
			}
		}
	}
	ds, err := w.Storages[st.Dataset.Kind].Settle(ctx, st, c.Name, c.At)
	if err != nil {
		return ds, errors.Join(err, forget(context.WithoutCancel(ctx), c, d))
	}
	for _, v := range c.Volumes {
		if v.Docker == "" || v.Native {
			continue
		}
		vol := docker.Volume{Name: v.Docker, Labels: labels, Options: map[string]string{"type": "none", "o": "bind", "device": c.Path(v)}}
		if err := d.CreateVolume(ctx, vol); err != nil {
			return ds, err
		}
	}
	zerolog.Ctx(ctx).Info().Str("dataset", ds.String()).Str("at", c.At).Msg("restored beside")
	return ds, nil
}

// makeRoom lets the engine make a volume, and takes away the empty directories that it made, down to where a clone is to be. The other
// way round, the engine would give what it finds there to root (local.Root.Create of moby).
func makeRoom(ctx context.Context, v docker.Volume, at, data string, d DockerVolumes) error {
	if err := d.CreateVolume(ctx, v); err != nil {
		return err
	}
	made, err := d.Volume(ctx, v.Name)
	if err == nil && made.Mountpoint != data {
		err = fmt.Errorf("the engine made %s at %s, not at %s", v.Name, made.Mountpoint, data)
	}
	for dir := data; err == nil; dir = filepath.Dir(dir) {
		err = os.Remove(dir) // none that is not empty
		if dir == at {
			break
		}
	}
	if err != nil {
		return errors.Join(err, d.RemoveVolume(context.WithoutCancel(ctx), v.Name))
	}
	return nil
}

// forget removes the Docker volumes that a clone was to be.
func forget(ctx context.Context, c Clone, d DockerVolumes) error {
	var errs []error
	for _, v := range c.Volumes {
		if v.Docker != "" && v.Native {
			errs = append(errs, d.RemoveVolume(ctx, v.Docker))
		}
	}
	return errors.Join(errs...)
}
