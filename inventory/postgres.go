package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/internal/docker"
)

// Postgres is how to reach the database in a container that looks like PostgreSQL.
type Postgres struct{ User, Database string }

// PostgresIn is how to reach the database in a container that looks like PostgreSQL. It goes by the image's name and by the
// environment that the official image and those built on it set.
// POSTGRES_* alone is no sign: clients have it too, so there it takes the data directory as well.
func PostgresIn(c docker.Container) (Postgres, bool) {
	env := environment(c.Env)
	image := imageName(c.Image)
	named := slices.ContainsFunc([]string{"postgres", "timescale", "postgis"}, func(s string) bool { return strings.Contains(image, s) }) &&
		!slices.ContainsFunc([]string{"exporter", "backup", "postgrest", "operator"}, func(s string) bool { return strings.Contains(image, s) })
	_, pgdata := env["PGDATA"]
	isServer := named || pgdata || settings(env) && holdsData(c)
	if !isServer {
		return Postgres{}, false
	}
	user := cmp.Or(env["POSTGRES_USER"], "postgres") // docker-entrypoint.sh of the official image has the same defaults
	return Postgres{User: user, Database: cmp.Or(env["POSTGRES_DB"], user)}, true
}

func settings(env map[string]string) bool {
	for name := range env {
		if strings.HasPrefix(name, "POSTGRES_") {
			return true
		}
	}
	return false
}

func holdsData(c docker.Container) bool {
	return slices.ContainsFunc(c.Mounts, func(m docker.Mount) bool { return m.RW && inside(m.Destination, "/var/lib/postgresql") })
}

// imageName is the last part of an image's name without tag and digest: "postgres" of "registry:5000/library/postgres:15".
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return strings.ToLower(image)
}

func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, e := range list {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}
