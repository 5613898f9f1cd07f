package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/internal/docker"
)

// Find is the container that a configured name means, running or not: the one of exactly that name, or else in the Compose
// project the one that its labels give that name, whichever version of Compose wrote it ("pyaleph-postgres-1",
// "pyaleph_postgres_1"), or the only one of the service of that name. Where several fit, the only running one is meant.
// ErrNotFound and ErrAmbiguous say what else there is.
func Find(ctx context.Context, d Docker, project, name string) (docker.Container, error) {
	all, err := d.Containers(ctx, true)
	if err != nil {
		return docker.Container{}, err
	}
	return Pick(all, project, name)
}

// Pick is Find among containers that were listed before.
func Pick(all []docker.Container, project, name string) (docker.Container, error) {
	var names []string
	for _, c := range all {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	for _, fits := range []func(docker.Container) bool{
		func(c docker.Container) bool { return plain(composeName(c)) == plain(name) },
		func(c docker.Container) bool { return c.Labels[labelService] == name },
	} {
		found := filter(all, func(c docker.Container) bool { return project != "" && ofProject(c, project) && fits(c) })
		if one, ok := only(found); ok {
			return one, nil
		}
		if len(found) > 1 {
			return docker.Container{}, fmt.Errorf("container %q: %w: %s", name, ErrAmbiguous, strings.Join(containerNames(found), ", "))
		}
	}
	return docker.Container{}, fmt.Errorf("container %q: %w%s", name, ErrNotFound, suggest(name, names))
}

func ofProject(c docker.Container, project string) bool {
	return c.Labels[labelProject] == project && !strings.EqualFold(c.Labels[labelOneOff], "true")
}

// composeName is the name that Compose gives by its labels, whatever the container is called.
func composeName(c docker.Container) string {
	return c.Labels[labelProject] + "-" + c.Labels[labelService] + "-" + c.Labels[labelNumber]
}

// only is the single container, or the single running one: while Compose replaces a container, the old one is still
// there, stopped and renamed.
func only(found []docker.Container) (docker.Container, bool) {
	if len(found) > 1 {
		found = filter(found, func(c docker.Container) bool { return c.Running })
	}
	if len(found) != 1 {
		return docker.Container{}, false
	}
	return found[0], true
}

func filter(all []docker.Container, fits func(docker.Container) bool) []docker.Container {
	return slices.DeleteFunc(slices.Clone(all), func(c docker.Container) bool { return !fits(c) })
}

func containerNames(all []docker.Container) []string {
	names := make([]string, 0, len(all))
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}
