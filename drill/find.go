package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
	alone          bool              // it is the only one of the set
	damage         error             // why no server can be started on it
}

// deepest is how far below the top of a volume a data directory is looked for: "15/main", "18/docker".
const deepest = 2

const (
	versionFile  = "PG_VERSION"
	versionLimit = 64
	controlFile  = "global/pg_control"
	retiredFile  = controlFile + ".old" // pg_upgrade(1) has renamed it: another data directory has its files
)

// ofTablespace are the directories of tablespaces, in which each database has a PG_VERSION.
var ofTablespace = regexp.MustCompile(`^PG_[0-9.]+_[0-9]+$`)

// findDatabases looks for data directories in the clones, and returns those that it found also with an error.
func (t *trial) findDatabases(ctx context.Context) ([]database, error) {
	var found []database
	var errs []error
	for _, v := range t.volumes {
		info, err := os.Stat(v.at)
		if err == nil && info.IsDir() {
			var dbs []database
			dbs, err = databasesIn(ctx, v)
			found = append(found, dbs...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.member.Volume, err))
		}
	}
	return found, errors.Join(errs...)
}

func databasesIn(ctx context.Context, v volume) (found []database, err error) {
	root, err := os.OpenRoot(v.at)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var look func(dir string, depth int) error
	look = func(dir string, depth int) error {
		switch _, err := root.Lstat(filepath.Join(dir, versionFile)); {
		case err == nil:
			db := database{volume: v, dir: filepath.Join(v.at, dir)}
			retired, err := db.look()
			if db.damage = err; !retired {
				found = append(found, db)
			}
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case depth == deepest:
			return nil
		}
		return entries(ctx, root, dir, func(e fs.DirEntry) error {
			if !e.IsDir() || ofTablespace.MatchString(e.Name()) {
				return nil
			}
			return look(filepath.Join(dir, e.Name()), depth+1)
		})
	}
	err = look(".", 0)
	return found, err
}

// look finds out what is known of a directory with a PG_VERSION. An error is its damage.
func (db *database) look() (retired bool, err error) {
	root, err := os.OpenRoot(db.dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }()
	owner, err := root.Stat(".")
	if err != nil {
		return false, err
	}
	if st, ok := owner.Sys().(*syscall.Stat_t); ok {
		db.uid, db.gid = int(st.Uid), int(st.Gid)
	}
	control, err := openRegular(root, controlFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := root.Lstat(retiredFile); err == nil {
			return true, nil
		}
		return false, fmt.Errorf("%s is there, and %s is not", versionFile, controlFile)
	}
	if err != nil {
		return false, err
	}
	_ = control.Close()
	text, err := readRegular(root, versionFile, versionLimit)
	if err != nil {
		return false, err
	}
	whole, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".") // "9.6" is no version that anybody should run
	if db.major, err = strconv.Atoi(whole); err != nil {
		return false, fmt.Errorf("%s is %q", versionFile, text)
	}
	return false, nil
}

// containers are those of this host. Without an engine there are none, and this host's programs will do.
func (t *trial) containers(ctx context.Context) ([]docker.Container, error) {
	all, err := t.drill.Docker.Containers(ctx, true)
	if errors.Is(err, docker.ErrUnavailable) {
		return nil, nil
	}
	return all, err
}

// assignOne finds out which container uses a data directory in the app.
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
