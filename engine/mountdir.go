package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/internal/mounttree"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/snapset"
)

// ErrUnfit says that a directory is none to mount a set at, and that nothing was changed.
var ErrUnfit = errors.New("no set can be mounted there")

// settle is an absolute path without symbolic links, and whether there is something. What it is in has to be there.
func settle(dir string) (settled string, there bool, err error) {
	settled, err = filepath.EvalSymlinks(dir)
	if err == nil {
		return settled, true, nil
	}
	if _, lerr := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || lerr == nil { // a link that leads nowhere
		return "", false, err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", false, err
	}
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return "", false, errors.Join(fmt.Errorf("%s is no directory", parent), err)
	}
	return filepath.Join(parent, filepath.Base(dir)), false, nil
}

// unused refuses a directory that is not empty, or in use.
func unused(dir string) error {
	if dir == "/" {
		return fmt.Errorf("%s: %w: it is the root of everything", dir, ErrUnfit)
	}
	if there, err := mounttree.At(dir); there || errors.Is(err, mounttree.ErrOther) {
		return fmt.Errorf("%s: %w: it is a mount point already", dir, ErrUnfit)
	} else if err != nil {
		return err
	}
	at, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := at.Stat()
	if err == nil && !info.IsDir() {
		return errors.Join(fmt.Errorf("%s: %w: it is no directory", dir, ErrUnfit), at.Close())
	}
	in, err := at.Readdirnames(1)
	if len(in) > 0 {
		err = fmt.Errorf("%s: %w: the directory is not empty", dir, ErrUnfit)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, at.Close())
}

// apart refuses a directory that is part of what is kept recoverable: a volume of an app, or of one of the sets. dir has no
// symbolic links, and existing is the last of it that is there.
func (e *Engine) apart(ctx context.Context, dir, existing string, apps []App, sets []snapset.Set) error {
	refuse := func(volume, what string) error {
		return fmt.Errorf("%s: %w: it is in the volume %s of %s", dir, ErrUnfit, volume, what)
	}
	if _, in := mountinfo.Below(e.RunDir, dir); in {
		return fmt.Errorf("%s: %w: it is in the run directory", dir, ErrUnfit)
	}
	for _, a := range apps {
		for volume, at := range e.hostPaths(ctx, a) {
			if _, in := mountinfo.Below(at, dir); in {
				return refuse(volume, a.Name)
			}
		}
	}
	place, _, err := e.resolve(ctx, existing)
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("the directory is on none of the storages")
		return ctx.Err()
	}
	rel, _ := filepath.Rel(existing, dir) // both are absolute
	at := filepath.Join(place.Path, rel)
	for _, s := range sets {
		for _, m := range s.Snapshots {
			for _, v := range m.Volumes {
				if _, in := mountinfo.Below(v.Path, at); m.Dataset == place.Dataset && (in || v.Path == ".") {
					return refuse(v.Name, s.ID.App())
				}
			}
		}
	}
	return nil
}

// askingDocker is how long Docker may take to say where volumes are. To look into a set has to be possible without it.
const askingDocker = 5 * time.Second

// hostPaths are where the volumes of an app lie, as far as that can be found out now.
func (e *Engine) hostPaths(ctx context.Context, a App) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, askingDocker)
	defer cancel()
	found := map[string]string{}
	inv, err := inventory.Resolve(ctx, e.Docker, inventory.App{Project: a.Project, Volumes: a.Volumes})
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("app", a.Name).Msg("could not find out where all volumes are")
	}
	for _, v := range inv.Volumes {
		found[v.Name] = v.HostPath
	}
	for _, v := range a.Volumes {
		if at, err := filepath.EvalSymlinks(v.Path); v.Path != "" && err == nil {
			found[v.Path] = at
		}
	}
	return found
}
