package drill

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/inventory"
)

// checkServers fails each server of the app of which the set has no data directory: those that the configuration names, those that wrote a
// CHECKPOINT when the set was taken, and those whose data lies in a volume of the set. One that is gone, or has its data elsewhere by
// now, may be that of a data directory of which no server is known.
func (t *trial) checkServers(dbs []database, all []docker.Container) {
	spare := 0
	for _, db := range dbs {
		if db.like == nil {
			spare++
		}
	}
	for _, name := range t.servers(all) {
		has := func(database) bool { return false }
		moved := true // or gone
		if i := slices.IndexFunc(all, func(c docker.Container) bool { return c.Name == name }); i >= 0 {
			has = func(db database) bool { return mountOf(all[i], db.volume, db.dir) != nil }
			if at, ok := t.dataOf(all[i]); ok {
				has = func(db database) bool { _, below := mountinfo.Below(at, db.dir); return below }
				moved = false
			}
		}
		switch {
		case slices.ContainsFunc(dbs, has):
		case moved && spare > 0:
			spare--
		default:
			t.fail("postgres "+name, "no volume of the set holds a data directory of PostgreSQL (%s beside %s) of this container", versionFile, controlFile)
		}
	}
}

// servers are the names of the app's servers, each once.
func (t *trial) servers(all []docker.Container) (names []string) {
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, c := range t.set.Manifest.Checkpoints {
		add(c.Container)
	}
	for _, s := range t.app.Postgres {
		c, err := inventory.Pick(all, t.app.Project, s.Container)
		switch {
		case err == nil:
			add(c.Name)
		case len(t.set.Manifest.Checkpoints) == 0: // or it is among those, maybe by another name
			add(s.Container)
		}
	}
	for _, c := range all {
		if _, looks := inventory.PostgresIn(c); looks {
			if _, ok := t.dataOf(c); ok {
				add(c.Name)
			}
		}
	}
	return names
}

// dataOf is the clone of what is mounted where a server that is such a container has its data.
func (t *trial) dataOf(c docker.Container) (at string, ok bool) {
	data := "/var/lib/postgresql/data"
	for _, e := range c.Env {
		if at, ok := strings.CutPrefix(e, "PGDATA="); ok && filepath.IsAbs(at) {
			data = filepath.Clean(at)
		}
	}
	m := mountOver(c, data)
	if !m.RW {
		return "", false
	}
	return t.cloneOf(m)
}

// mountOver is the mount by which a container sees a path: the innermost.
func mountOver(c docker.Container, path string) (over docker.Mount) {
	for _, m := range c.Mounts {
		if _, ok := mountinfo.Below(m.Destination, path); ok && len(m.Destination) > len(over.Destination) {
			over = m
		}
	}
	return over
}
