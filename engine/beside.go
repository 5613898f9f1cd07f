package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/snapset"
)

// ErrBadPrefix says that a prefix cannot begin the names of Docker volumes and datasets.
var ErrBadPrefix = errors.New("bad prefix")

var prefixPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,31}$`)

// RestoreBeside makes datasets and Docker volumes called PREFIX_VOLUME of a set, beside what is there, which stays as it is. With dry
// it says what it would make, and changes nothing. ErrExists: something of that name is there.
func (e *Engine) RestoreBeside(ctx context.Context, id driver.SetID, prefix string, opt RestoreOptions, dry bool) (r report.Restore, err error) {
	r = report.Restore{Set: string(id), Mode: report.Beside, DryRun: dry, Members: []report.RestoredMember{}, Containers: []string{}, Kept: []string{}}
	if !prefixPattern.MatchString(prefix) {
		return r, fmt.Errorf("%w %q: want 1 to 32 of a-z, A-Z, 0-9, \".\" and \"-\", with a letter or digit first", ErrBadPrefix, prefix)
	}
	work := func(*state.Lock) error {
		s, from, err := e.toRestore(ctx, id, opt)
		if err != nil {
			return err
		}
		clones, err := e.planBeside(ctx, s, prefix, opt)
		if err != nil {
			return err
		}
		if !dry {
			if err := e.besides(ctx, id, from, clones); err != nil {
				return err
			}
		}
		r.Members = clonedMembers(clones)
		return nil
	}
	if dry {
		err = work(nil)
	} else {
		err = e.locked(ctx, id.App(), work)
	}
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", id, err)
	}
	return r, nil
}

func (e *Engine) besides(ctx context.Context, id driver.SetID, from *replica, clones []restore.Clone) error {
	on := make([]driver.Dataset, len(clones)) // in whose pool they are fetched to
	for i, c := range clones {
		if from == nil {
			break
		}
		var err error
		if on[i], err = e.fetchBeside(ctx, c); err != nil {
			return err
		}
		if clones[i].Snapshot, err = e.fetchOne(ctx, from, c.Snapshot.GUID, on[i]); err != nil {
			return err
		}
		if clones[i].Fetched, err = e.fetched(ctx, on[i]); err != nil {
			return err
		}
	}
	if _, err := e.restoring(App{Name: id.App()}, id, nil).Beside(ctx, id.App(), id, clones, e.Docker); err != nil {
		return err
	}
	for i, c := range clones {
		if from != nil {
			e.forgetFetched(ctx, c.Snapshot, on[i])
		}
	}
	return nil
}

// fetchBeside is the dataset in whose pool a replica is cloned: the one in which the clone's files will lie, or, where they will be a
// file system of their own among directories of another kind of storage, the one that it was taken of.
func (e *Engine) fetchBeside(ctx context.Context, c restore.Clone) (driver.Dataset, error) {
	place, _, err := e.resolve(ctx, nearest(c.At))
	switch {
	case err == nil && place.Dataset.Kind == c.Snapshot.Dataset.Kind:
		return place.Dataset, nil
	case err == nil || errors.Is(err, driver.ErrNotSupported):
		return c.Snapshot.Dataset, nil
	}
	return driver.Dataset{}, err
}

// nearest is the path, or the directory above it that there is.
func nearest(path string) string {
	for path != "/" {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		path = filepath.Dir(path)
	}
	return path
}

func clonedMembers(clones []restore.Clone) []report.RestoredMember {
	out := []report.RestoredMember{}
	for _, c := range clones {
		for _, v := range c.Volumes {
			out = append(out, report.RestoredMember{
				Volume: v.Of, Driver: c.Snapshot.Dataset.Kind, Dataset: c.Name, HostPath: c.Path(v), Docker: v.Docker, Method: "clone",
			})
		}
	}
	return out
}

// planBeside decides what is cloned, and where to.
func (e *Engine) planBeside(ctx context.Context, s snapset.Set, prefix string, opt RestoreOptions) ([]restore.Clone, error) {
	if !s.Complete {
		return nil, fmt.Errorf("%w: it is not complete: %s", ErrRefused, strings.Join(s.Manifest.Faults, "; "))
	}
	if err := plainNames(s); err != nil {
		return nil, err
	}
	chosen, err := chooseVolumes(s, opt.Volumes)
	if err != nil {
		return nil, err
	}
	var clones []restore.Clone
	for _, m := range s.Snapshots {
		if !slices.ContainsFunc(m.Volumes, func(v driver.Volume) bool { return chosen[v.Name] }) {
			continue
		}
		d, err := e.driver(m.Dataset.Kind)
		if err != nil {
			return nil, err
		}
		if _, ok := d.(restore.Storage); !ok {
			return nil, fmt.Errorf("%w: %s: this version makes no clones of %s", ErrRefused, m.Dataset, m.Dataset.Kind)
		}
		c, err := e.cloneOf(ctx, m, prefix, chosen)
		if err != nil {
			return nil, err
		}
		clones = append(clones, c)
	}
	return clones, nil
}

// dockerName is what Docker takes as the name of a volume (RestrictedNamePattern of moby).
var dockerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// plainNames refuses a set whose volumes have names or places that no set of ours has: they may be made up by another host, to lead
// elsewhere.
func plainNames(s snapset.Set) error {
	for _, m := range s.Snapshots {
		for _, v := range m.Volumes {
			isPath := filepath.IsAbs(v.Name) && filepath.Clean(v.Name) == v.Name
			if !isPath && !dockerName.MatchString(v.Name) || !filepath.IsLocal(v.Path) || filepath.Clean(v.Path) != v.Path {
				return fmt.Errorf("%w: it has a volume %q at %q, which no set of volsnap's has", ErrRefused, v.Name, v.Path)
			}
		}
	}
	return nil
}

// cloneOf decides where the clone of a snapshot is to be: where Docker looks for a volume, if it is that and nothing else, and else
// beside the dataset.
func (e *Engine) cloneOf(ctx context.Context, m driver.Snapshot, prefix string, chosen map[string]bool) (restore.Clone, error) {
	c := restore.Clone{Snapshot: m}
	volumes, top, err := e.nativePlace(ctx, m)
	if err != nil {
		return c, err
	}
	for _, v := range m.Volumes {
		if !chosen[v.Name] {
			continue
		}
		one := restore.ClonedVolume{Of: v.Name, Inside: v.Path, Native: volumes != ""}
		if !filepath.IsAbs(v.Name) {
			one.Docker = prefix + "_" + v.Name
		}
		c.Volumes = append(c.Volumes, one)
	}
	if volumes != "" {
		c.Name = prefix + "_" + m.Volumes[0].Name
		c.At = strings.TrimSuffix(filepath.Join(volumes, c.Name, "_data"), "/"+m.Volumes[0].Path)
		return c, nil
	}
	c.Name = prefix + "_" + filepath.Base(top)
	c.At = filepath.Join(filepath.Dir(top), c.Name)
	return c, nil
}

// nativePlace is the engine's own directory of volumes, if the dataset of a snapshot is that of a single volume there, and else where the
// dataset is seen.
func (e *Engine) nativePlace(ctx context.Context, m driver.Snapshot) (volumes, top string, err error) {
	v := m.Volumes[0]
	if len(m.Volumes) == 1 && !filepath.IsAbs(v.Name) && (v.Path == "." || v.Path == "_data") {
		have, err := e.Docker.Volume(ctx, v.Name)
		switch {
		case err == nil && have.Driver == "local" && len(have.Options) == 0:
			return filepath.Dir(filepath.Dir(have.Mountpoint)), "", nil
		case errors.Is(err, docker.ErrNotFound):
			root, err := e.Docker.DataRoot(ctx)
			return filepath.Join(root, "volumes"), "", err
		case err != nil && !errors.Is(err, docker.ErrUnavailable):
			return "", "", err
		}
	}
	for _, v := range m.Volumes {
		if filepath.IsAbs(v.Name) {
			return "", topOf(v.Name, v.Path), nil
		}
		if have, err := e.Docker.Volume(ctx, v.Name); err == nil {
			return "", topOf(seenAt(have), v.Path), nil
		}
	}
	if filepath.IsAbs(m.Dataset.Name) {
		return "", m.Dataset.Name, nil
	}
	return "", filepath.Join(e.Store.Dir, "restored", filepath.Base(m.Dataset.Name)), nil
}

// seenAt is the engine's directory of a volume, or the one that the volume's options bind there.
func seenAt(v docker.Volume) string {
	if device := v.Options["device"]; filepath.IsAbs(device) {
		return device
	}
	return v.Mountpoint
}

// topOf is the top of a dataset, by where what lies at inside in it is seen. Symbolic links lead to another place, which is the one that
// a clone lies beside.
func topOf(path, inside string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return strings.TrimSuffix(filepath.Clean(path), "/"+inside)
}
