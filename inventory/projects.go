package inventory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/internal/docker"
)

// Project is what runs of a Compose project.
type Project struct {
	Name     string    // empty: containers outside any project, each counted as a service
	Services []Service // what others depend on first
	Volumes  []ProjectVolume
	Binds    []Bind
}

// Service is a service of a project.
type Service struct {
	Name           string
	Containers     []string // names of those that run
	Image          string
	DependsOn      []string
	HasHealthcheck bool
	Postgres       *Postgres // how to reach the database, if it looks like PostgreSQL
}

// ProjectVolume is a volume that belongs to a project by its labels, or that its running containers use.
type ProjectVolume struct {
	Name     string
	HostPath string   // empty if there is none that could be snapshotted; Problem says why
	Problem  string   // with the mend
	Writers  []string // services that can write to it
}

// Bind is a directory or file of this host in containers of a project.
type Bind struct {
	HostPath         string
	Writers, Readers []string // services that can write to it; that only read it
}

// Projects are the projects that run now, by name, those containers that belong to none last.
func Projects(ctx context.Context, d Docker) ([]Project, error) {
	running, err := d.Containers(ctx, false)
	if err != nil {
		return nil, err
	}
	volumes, err := d.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	members := map[string][]docker.Container{}
	for _, c := range running {
		members[c.Labels[labelProject]] = append(members[c.Labels[labelProject]], c)
	}
	var projects []Project
	for _, name := range slices.Sorted(maps.Keys(members)) {
		projects = append(projects, project(name, members[name], volumes))
	}
	if len(projects) > 0 && projects[0].Name == "" {
		projects = append(projects[1:], projects[0])
	}
	return projects, nil
}

func project(name string, members []docker.Container, volumes []docker.Volume) Project {
	return Project{
		Name: name, Services: services(members), Volumes: projectVolumes(name, members, volumes), Binds: binds(members),
	}
}

func services(members []docker.Container) []Service {
	byName := map[string]*Service{}
	for _, c := range members {
		name := serviceOf(c)
		s := byName[name]
		if s == nil {
			s = &Service{Name: name, Image: c.Image, DependsOn: dependencies(c)}
			byName[name] = s
		}
		s.Containers = append(s.Containers, c.Name)
		s.HasHealthcheck = s.HasHealthcheck || c.HasHealthcheck
		if p, ok := PostgresIn(c); ok {
			s.Postgres = &p
		}
	}
	return ordered(byName)
}

func serviceOf(c docker.Container) string { return cmp.Or(c.Labels[labelService], c.Name) }

func dependencies(c docker.Container) []string {
	var names []string
	for _, d := range strings.Split(c.Labels[labelDepends], ",") {
		if name, _, _ := strings.Cut(strings.TrimSpace(d), ":"); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ordered puts each service after those it depends on, as far as these run, and otherwise by name. A circle, which
// Compose refuses, is entered at its first name.
func ordered(byName map[string]*Service) []Service {
	var out []Service
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		s := byName[name]
		if s == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, d := range s.DependsOn {
			visit(d)
		}
		out = append(out, *s)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		visit(name)
	}
	return out
}

func projectVolumes(project string, members []docker.Container, volumes []docker.Volume) []ProjectVolume {
	var found []ProjectVolume
	for _, v := range volumes {
		var writers []string
		used := false
		for _, c := range members {
			for _, m := range c.Mounts {
				if m.Name != v.Name || v.Name == "" {
					continue
				}
				used = true
				if m.RW {
					writers = append(writers, serviceOf(c))
				}
			}
		}
		if !used && (project == "" || v.Labels[labelProject] != project) {
			continue
		}
		pv := ProjectVolume{Name: v.Name, Writers: unique(writers)}
		if path, _, err := hostPath(v); err != nil {
			pv.Problem = err.Error()
		} else if pv.HostPath, err = existing(path); err != nil {
			pv.Problem = path + ": " + err.Error()
		}
		found = append(found, pv)
	}
	return found
}

// binds leaves out what is no data, such as sockets and devices.
func binds(members []docker.Container) []Bind {
	byPath := map[string]*Bind{}
	for _, c := range members {
		for _, m := range c.Mounts {
			path, err := existing(m.Source)
			if m.Type != "bind" || err != nil {
				continue
			}
			if byPath[path] == nil {
				byPath[path] = &Bind{HostPath: path}
			}
			if m.RW {
				byPath[path].Writers = append(byPath[path].Writers, serviceOf(c))
			} else {
				byPath[path].Readers = append(byPath[path].Readers, serviceOf(c))
			}
		}
	}
	var all []Bind
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		b := byPath[path]
		all = append(all, Bind{HostPath: path, Writers: unique(b.Writers), Readers: unique(b.Readers)})
	}
	return all
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
