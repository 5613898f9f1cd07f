package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/volsnap/volsnap/internal/docker"
)

// Resolve finds an app's volumes. All problems are reported at once: volumes that do not exist (ErrNotFound, with names
// that are near), that have no directory on this host (ErrNoPath), or that are the same directory twice. The engine is
// not asked if the app names paths only.
func Resolve(ctx context.Context, d Docker, app App) (Inventory, error) {
	r := resolver{project: app.Project, names: map[string]string{}}
	if len(app.Volumes) == 0 || slices.ContainsFunc(app.Volumes, func(s VolumeSpec) bool { return s.Volume != "" }) {
		var err error
		if r.known, err = d.Volumes(ctx); err != nil {
			return Inventory{}, err
		}
	}
	specs := app.Volumes
	if len(specs) == 0 {
		if specs = r.ofProject(); len(specs) == 0 {
			return Inventory{}, r.noVolumes()
		}
	}
	inv := Inventory{Project: app.Project}
	var problems []error
	for _, s := range specs {
		v, err := r.resolve(s)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		problems = append(problems, sameAs(v, inv.Volumes))
		inv.Volumes = append(inv.Volumes, v)
	}
	for i := range inv.Volumes {
		problems = append(problems, r.rename(inv.Volumes[i].NotOlderThan, inv.Volumes[i].Name))
	}
	if err := errors.Join(problems...); err != nil {
		return Inventory{}, err
	}
	return inv, nil
}

type resolver struct {
	project string
	known   []docker.Volume
	names   map[string]string // as configured, to as in the inventory
}

func (r *resolver) ofProject() []VolumeSpec {
	var specs []VolumeSpec
	for _, v := range r.known {
		if r.project != "" && v.Labels[labelProject] == r.project {
			specs = append(specs, VolumeSpec{Volume: v.Name})
		}
	}
	return specs
}

func (r *resolver) noVolumes() error {
	if r.project == "" {
		return errors.New("resolve app: neither a project nor a volume is named")
	}
	var projects []string
	for _, v := range r.known {
		if p := v.Labels[labelProject]; p != "" && !slices.Contains(projects, p) {
			projects = append(projects, p)
		}
	}
	return fmt.Errorf("volumes of project %q: %w%s", r.project, ErrNotFound, suggest(r.project, projects))
}

func (r *resolver) resolve(s VolumeSpec) (Volume, error) {
	if s.Volume != "" {
		v, err := r.dockerVolume(s.Volume)
		inUse := cmp.Or(v.Name, s.Volume)
		r.names[s.Volume], r.names[inUse] = inUse, inUse
		v.NotOlderThan = slices.Clone(s.NotOlderThan)
		return v, err
	}
	r.names[s.Path] = s.Path
	path, err := existing(s.Path)
	if err != nil {
		return Volume{}, fmt.Errorf("path %q: %w", s.Path, err)
	}
	return Volume{Name: s.Path, HostPath: path, Found: FoundPath, NotOlderThan: slices.Clone(s.NotOlderThan)}, nil
}

func (r *resolver) dockerVolume(name string) (Volume, error) {
	found, err := r.find(name)
	if err != nil {
		return Volume{}, err
	}
	v := Volume{Name: found.Name, Docker: true, Labels: found.Labels}
	where, how, err := hostPath(found)
	if err != nil {
		return v, fmt.Errorf("volume %q: %w", name, err)
	}
	if v.HostPath, err = existing(where); err != nil {
		return v, fmt.Errorf("volume %q: %w: %s: %w", name, ErrNoPath, where, err)
	}
	v.Found = how
	return v, nil
}

// find takes a volume's name, or else its key in the project's Compose file.
func (r *resolver) find(name string) (docker.Volume, error) {
	var names []string
	for _, v := range r.known {
		if v.Name == name {
			return v, nil
		}
		names = append(names, v.Name)
	}
	for _, v := range r.known {
		if r.project != "" && v.Labels[labelProject] == r.project && v.Labels[labelVolume] == name {
			return v, nil
		}
	}
	return docker.Volume{}, fmt.Errorf("volume %q: %w%s", name, ErrNotFound, suggest(name, names))
}

// rename turns the names in a not_older_than list into those of the inventory.
func (r *resolver) rename(list []string, of string) error {
	var problems []error
	for i, name := range list {
		known, ok := r.names[name]
		if !ok {
			problems = append(problems, fmt.Errorf("volume %q: not_older_than names %q, which is no volume of the app", of, name))
			continue
		}
		list[i] = known
	}
	return errors.Join(problems...)
}

// existing resolves symbolic links in the path of a directory or regular file.
func existing(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", errors.New("not an absolute path")
	}
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w on this host", ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return "", err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return "", errors.New("neither a directory nor a file")
	}
	return resolved, nil
}

func sameAs(v Volume, others []Volume) error {
	for _, o := range others {
		if o.HostPath == v.HostPath {
			return fmt.Errorf("volume %q is the same directory as %q: %s", v.Name, o.Name, v.HostPath)
		}
	}
	return nil
}
