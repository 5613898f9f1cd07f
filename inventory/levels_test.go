package inventory_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

func TestLevels(t *testing.T) {
	of := func(project, service, on string) docker.Container {
		labels := map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": service}
		if on != "" {
			labels["com.docker.compose.depends_on"] = on
		}
		return docker.Container{ID: project + "-" + service, Labels: labels}
	}
	bare := docker.Container{ID: "bare"}
	for _, tt := range []struct {
		name      string
		all       []docker.Container
		databases map[string]bool
		want      map[string]int
	}{
		{"none", nil, nil, map[string]int{}},
		{"without labels, the database comes first", []docker.Container{bare, {ID: "db"}}, map[string]bool{"db": true}, map[string]int{"bare": 1, "db": 0}},
		{"without labels or databases, all at once", []docker.Container{bare, {ID: "x"}}, nil, map[string]int{"bare": 0, "x": 0}},
		{"a chain, and a service of another project", []docker.Container{
			of("p", "web", "api:service_started:false"), of("p", "api", "db:service_healthy:true,cache:service_started:false"), of("p", "db", ""), of("q", "api", ""),
		}, nil, map[string]int{"p-db": 0, "p-api": 1, "p-web": 2, "q-api": 0}},
		{"a database that depends on something", []docker.Container{
			of("p", "db", "dns:service_started:false"), of("p", "dns", ""),
		}, map[string]bool{"p-db": true}, map[string]int{"p-dns": 1, "p-db": 2}},
		{"what it depends on does not run", []docker.Container{of("p", "web", "gone:service_started:false")}, nil, map[string]int{"p-web": 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, inventory.Levels(tt.all, tt.databases)); diff != "" {
				t.Error(diff)
			}
		})
	}
	circle := []docker.Container{of("p", "a", "b:service_started:false"), of("p", "b", "a:service_started:false")}
	if got := inventory.Levels(circle, nil); len(got) != 2 {
		t.Errorf("a circle: %v", got)
	}
}
