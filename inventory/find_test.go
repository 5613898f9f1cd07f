package inventory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/inventory"
)

func TestFind(t *testing.T) {
	h := start(t)
	pg := h.compose(t, "pyaleph_postgres_1", "pyaleph", "postgres", "1")
	api1 := h.compose(t, "pyaleph-api-1", "pyaleph", "api", "1")
	h.compose(t, "pyaleph-api-2", "pyaleph", "api", "2")
	h.compose(t, "pyaleph-postgres-run-1", "pyaleph", "postgres", "1", "--label", "com.docker.compose.oneoff=True")
	other := h.compose(t, "other-postgres-1", "other", "postgres", "1")
	named := h.compose(t, "my-redis", "pyaleph", "redis", "1")
	h.compose(t, "old_pyaleph-ipfs-1", "pyaleph", "ipfs", "1")
	h.Docker(t, "stop", "old_pyaleph-ipfs-1")
	ipfs := h.compose(t, "new_pyaleph-ipfs-1", "pyaleph", "ipfs", "1")

	for _, tt := range []struct{ name, project, find, want string }{
		{"exact", "", "pyaleph_postgres_1", pg},
		{"the other spelling", "pyaleph", "pyaleph-postgres-1", pg},
		{"service", "pyaleph", "postgres", pg},
		{"service of another project", "other", "postgres", other},
		{"exact beats labels", "other", "pyaleph-api-1", api1},
		{"own name, by service", "pyaleph", "redis", named},
		{"own name, by Compose's", "pyaleph", "pyaleph-redis-1", named},
		{"being replaced", "pyaleph", "pyaleph-ipfs-1", ipfs},
	} {
		if got, err := inventory.Find(within(t), h.client, tt.project, tt.find); err != nil || got.ID != tt.want {
			t.Errorf("%s: %s, %v", tt.name, got.Name, err)
		}
	}
	for _, tt := range []struct {
		name, project, find string
		want                error
		says                string
	}{
		{"several of a service", "pyaleph", "api", inventory.ErrAmbiguous, "pyaleph-api-1, pyaleph-api-2"},
		{"spelling without a project", "", "pyaleph-postgres-1", inventory.ErrNotFound, "near it: "},
		{"service without a project", "", "redis", inventory.ErrNotFound, "my-redis"},
		{"nothing like it", "pyaleph", "-rf", inventory.ErrNotFound, "there are: "},
	} {
		_, err := inventory.Find(within(t), h.client, tt.project, tt.find)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want %v with %q", tt.name, err, tt.want, tt.says)
		}
	}

	h.Docker(t, "rm", "-f", "pyaleph_postgres_1")
	again := h.compose(t, "pyaleph_postgres_1", "pyaleph", "postgres", "1")
	if got, err := inventory.Find(within(t), h.client, "pyaleph", "postgres"); err != nil || got.ID != again || again == pg {
		t.Errorf("after it was replaced: %s, %v", got.ID, err)
	}
}

func TestProjects(t *testing.T) {
	h := start(t)
	if _, err := h.Image(); err != nil {
		t.Fatal(err)
	}
	h.Docker(t, "tag", testhost.ImageName, "postgres:15.1")
	keys := dir(t, t.TempDir(), "the keys")
	pg := h.volume(t, "pyaleph_pg", "--label", "com.docker.compose.project=pyaleph")
	h.volume(t, "pyaleph_ram", "--label", "com.docker.compose.project=pyaleph", "--opt", "type=tmpfs", "--opt", "device=tmpfs")
	loose := h.volume(t, "loose")
	h.volume(t, "unused")
	h.compose(t, "pyaleph-api-1", "pyaleph", "api", "1", "-v", keys+":/keys:ro", "-v", "loose:/l", "-e", "POSTGRES_USER=aleph",
		"--label", "com.docker.compose.depends_on=worker:service_started:false,gone:service_started:false")
	h.compose(t, "pyaleph-worker-1", "pyaleph", "worker", "1", "-v", keys+":/keys", "-v", "/dev/null:/x",
		"--label", "com.docker.compose.depends_on=zdb:service_healthy:true", "--health-cmd", "/bin/true", "--health-interval", "1h")
	h.Run(t, "pyaleph-zdb-1", testhost.RunOptions{Image: "postgres:15.1", Flags: []string{
		"-v", "pyaleph_pg:/var/lib/postgresql/data", "-e", "POSTGRES_USER=aleph", "--label", "com.docker.compose.project=pyaleph", "--label", "com.docker.compose.service=zdb",
	}})
	h.Run(t, "plain", testhost.RunOptions{Flags: []string{"-e", "PGDATA=/d", "-e", "POSTGRES_DB=d"}})
	got, err := inventory.Projects(within(t), h.client)
	if err != nil {
		t.Fatal(err)
	}
	img := testhost.ImageName
	want := []inventory.Project{
		{
			Name: "pyaleph",
			Services: []inventory.Service{
				{Name: "zdb", Containers: []string{"pyaleph-zdb-1"}, Image: "postgres:15.1", Postgres: &inventory.Postgres{User: "aleph", Database: "aleph"}},
				{Name: "worker", Containers: []string{"pyaleph-worker-1"}, Image: img, DependsOn: []string{"zdb"}, HasHealthcheck: true},
				{Name: "api", Containers: []string{"pyaleph-api-1"}, Image: img, DependsOn: []string{"gone", "worker"}},
			},
			Volumes: []inventory.ProjectVolume{
				{Name: "loose", HostPath: loose, Writers: []string{"api"}},
				{Name: "pyaleph_pg", HostPath: pg, Writers: []string{"zdb"}},
				{Name: "pyaleph_ram", Problem: "has no directory of its own on this host: it is a tmpfs, in memory only; leave it out"},
			},
			Binds: []inventory.Bind{
				{HostPath: keys, Writers: []string{"worker"}, Readers: []string{"api"}},
				{HostPath: "/usr", Readers: []string{"api", "worker", "zdb"}},
			},
		},
		{
			Services: []inventory.Service{{Name: "plain", Containers: []string{"plain"}, Image: img, Postgres: &inventory.Postgres{User: "postgres", Database: "d"}}},
			Binds:    []inventory.Bind{{HostPath: "/usr", Readers: []string{"plain"}}},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
