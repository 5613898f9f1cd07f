package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/inventory"
)

// database is a data directory of PostgreSQL in a clone.
type database struct {
	volume   volume
	dir      string // an absolute path without symbolic links
	major    int
	uid, gid int // of its owner

	like           *docker.Container // the container that uses it in the app; nil: none is known
	named          bool              // the configuration names that container
	user, database string            // as configured, or as the container's environment says
	parts          []part            // that lie elsewhere
}

// deepest is how far below the top of a volume a data directory is looked for: "15/main", "18/docker".
const deepest = 2

// findDatabases looks for data directories in the clones.
func (t *trial) findDatabases() ([]database, error) {
	var found []database
	for _, v := range t.volumes {
		for depth := range deepest + 1 {
			names, err := filepath.Glob(filepath.Join(escaped(v.at), strings.Repeat("*/", depth), "PG_VERSION"))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				db, ok, err := databaseAt(v, filepath.Dir(name))
				if err != nil {
					return nil, err
				}
				if ok {
					found = append(found, db)
				}
			}
		}
	}
	return found, nil
}

// escaped is a path as a pattern that nothing else matches.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// databaseAt reports whether a directory is one.
func databaseAt(v volume, dir string) (database, bool, error) {
	if real, err := filepath.EvalSymlinks(dir); err != nil || real != dir {
		return database{}, false, nil // another way to what is found where it lies
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return database{}, false, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Lstat("global/pg_control")
	if err != nil || !info.Mode().IsRegular() {
		return database{}, false, nil // each database below base/ has a PG_VERSION too
	}
	text, err := root.ReadFile("PG_VERSION")
	if err != nil {
		return database{}, false, err
	}
	whole, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".") // "9.6" is no version that anybody should run
	major, err := strconv.Atoi(whole)
	if err != nil {
		return database{}, false, fmt.Errorf("%s: PG_VERSION is %q", dir, text)
	}
	owner, err := root.Stat(".")
	if err != nil {
		return database{}, false, err
	}
	st, ok := owner.Sys().(*syscall.Stat_t)
	if !ok {
		return database{}, false, errors.ErrUnsupported
	}
	return database{volume: v, dir: dir, major: major, uid: int(st.Uid), gid: int(st.Gid)}, true, nil
}

// assign finds out which container uses which data directory in the app.
func (t *trial) assign(ctx context.Context, dbs []database) error {
	all, err := t.drill.Docker.Containers(ctx, true)
	if errors.Is(err, docker.ErrUnavailable) {
		all, err = nil, nil // this host's programs will do
	}
	if err != nil {
		return err
	}
	for i := range dbs {
		t.assignOne(&dbs[i], all)
	}
	return nil
}

func (t *trial) assignOne(db *database, all []docker.Container) {
	step := Postgres{}
	for _, s := range t.app.Postgres {
		if c, err := inventory.Pick(all, t.app.Project, s.Container); err == nil && mountOf(c, db.volume, db.dir) != nil {
			db.like, db.named, step = &c, true, s
		}
	}
	if db.like == nil {
		using := slices.DeleteFunc(slices.Clone(all), func(c docker.Container) bool { m := mountOf(c, db.volume, db.dir); return m == nil || !m.RW })
		slices.SortStableFunc(using, func(a, b docker.Container) int { return cmp.Compare(rank(b), rank(a)) })
		if len(using) > 0 {
			db.like = &using[0]
		}
	}
	if step == (Postgres{}) && len(t.app.Postgres) == 1 {
		step = t.app.Postgres[0]
	}
	looks := inventory.Postgres{User: "postgres"}
	if db.like != nil {
		looks, _ = inventory.PostgresIn(*db.like)
	}
	db.user = cmp.Or(t.app.User, step.User, looks.User, "postgres")
	db.database = cmp.Or(t.app.Database, step.Database, looks.Database, db.user)
}

// rank is higher for a container that more likely is the server.
func rank(c docker.Container) (n int) {
	if _, ok := inventory.PostgresIn(c); ok {
		n += 2
	}
	if c.Running {
		n++
	}
	return n
}

// mountOf is the mount through which a container sees a directory of a volume of the app; nil: it does not.
func mountOf(c docker.Container, v volume, dir string) *docker.Mount {
	for _, m := range c.Mounts {
		at, ok := inVolume(m, v)
		if !ok {
			continue
		}
		if _, ok := mountinfo.Below(at, dir); ok {
			return &m
		}
	}
	return nil
}

// inVolume is the path in a volume's clone of what is mounted.
func inVolume(m docker.Mount, v volume) (at string, ok bool) {
	if m.Type == "volume" && m.Name == v.member.Volume {
		return v.at, true
	}
	if rel, ok := v.holds(plain(m.Source)); ok {
		at, err := plainPath(v.at, rel)
		return at, err == nil
	}
	return "", false
}

// holds is where below its top a volume has a path of the host that it was on.
func (v volume) holds(path string) (rel string, ok bool) {
	if !filepath.IsAbs(v.member.Volume) {
		return "", false
	}
	for _, top := range []string{v.member.Volume, plain(v.member.Volume)} {
		if rel, ok := mountinfo.Below(top, path); ok {
			return rel, true
		}
	}
	return "", false
}

// plain is a path without symbolic links, as far as that can be known: the app may be gone from this host.
func plain(path string) string {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		return whole
	}
	return filepath.Clean(path)
}
