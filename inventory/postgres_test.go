package inventory

import (
	"testing"

	"github.com/volsnap/volsnap/internal/docker"
)

func TestLooksLikePostgres(t *testing.T) {
	data := []docker.Mount{{Type: "volume", Destination: "/var/lib/postgresql/data", RW: true}}
	for _, tt := range []struct {
		name string
		c    docker.Container
		want Postgres
		ok   bool
	}{
		{"official", docker.Container{Image: "postgres:15.1", Env: []string{"POSTGRES_USER=aleph", "POSTGRES_DB=node"}}, Postgres{"aleph", "node"}, true},
		{"database defaults to the user", docker.Container{Image: "library/postgres", Env: []string{"POSTGRES_USER=aleph"}}, Postgres{"aleph", "aleph"}, true},
		{"user defaults to postgres", docker.Container{Image: "reg:5000/x/timescaledb-ha:pg16@sha256:ab"}, Postgres{"postgres", "postgres"}, true},
		{"empty user counts as none", docker.Container{Image: "postgis/postgis", Env: []string{"POSTGRES_USER="}}, Postgres{"postgres", "postgres"}, true},
		{"own image with PGDATA", docker.Container{Image: "sha256:1234", Env: []string{"PGDATA=/x"}}, Postgres{"postgres", "postgres"}, true},
		{"own image with settings and data", docker.Container{Image: "db", Env: []string{"POSTGRES_DB=d"}, Mounts: data}, Postgres{"postgres", "d"}, true},
		{"client", docker.Container{Image: "app", Env: []string{"POSTGRES_USER=u", "POSTGRES_HOST=db"}}, Postgres{}, false},
		{"exporter", docker.Container{Image: "prometheuscommunity/postgres-exporter:v0.15"}, Postgres{}, false},
		{"postgrest", docker.Container{Image: "postgrest/postgrest"}, Postgres{}, false},
		{"registry named so", docker.Container{Image: "postgres.example.org/app:1"}, Postgres{}, false},
		{"something else", docker.Container{Image: "redis:8.4", Mounts: data}, Postgres{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := PostgresIn(tt.c); got != tt.want || ok != tt.ok {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}
