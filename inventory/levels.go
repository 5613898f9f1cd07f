package inventory

import "github.com/volsnap/volsnap/internal/docker"

// Levels are the order in which containers are started: each container's level is above those of all that it depends on by its
// Compose labels, and where these say nothing, above those of the databases. They are stopped in the reverse order. Both maps are
// by container id.
func Levels(all []docker.Container, databases map[string]bool) map[string]int {
	of := map[string][]docker.Container{} // by project and service
	key := func(c docker.Container, service string) string { return c.Labels[labelProject] + "\x00" + service }
	for _, c := range all {
		of[key(c, serviceOf(c))] = append(of[key(c, serviceOf(c))], c)
	}
	level := map[string]int{}
	visiting := map[string]bool{}
	var visit func(c docker.Container) int
	visit = func(c docker.Container) int {
		if l, known := level[c.ID]; known || visiting[c.ID] { // a circle, which Compose refuses, is cut
			return l
		}
		visiting[c.ID] = true
		l := 0
		if len(databases) > 0 && !databases[c.ID] {
			l = 1
		}
		for _, name := range dependencies(c) {
			for _, on := range of[key(c, name)] {
				l = max(l, visit(on)+1)
			}
		}
		level[c.ID] = l
		return l
	}
	for _, c := range all {
		visit(c)
	}
	return level
}
