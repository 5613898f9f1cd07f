package drill

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/snapset"
)

func TestDatabasesIn(t *testing.T) {
	top := t.TempDir()
	for path, text := range map[string]string{
		"15/main/PG_VERSION": "15\n", "15/main/global/pg_control": "", "15/main/base/1/PG_VERSION": "15\n",
		"14/main/PG_VERSION": "14\n", "14/main/global/pg_control.old": "", // after pg_upgrade --link
		"lost/PG_VERSION": "15\n", "zeros/PG_VERSION": "\x00\x00", "zeros/global/pg_control": "", "long/PG_VERSION": string(make([]byte, 1000)), "long/global/pg_control": "",
		"space/PG_15_202209061/5/PG_VERSION": "15\n",
		"too/deep/for/PG_VERSION":            "15\n",
		"headless/base/5/other":              "",
	} {
		if err := os.MkdirAll(filepath.Join(top, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("15", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	found, err := databasesIn(t.Context(), volume{at: top})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{} // whether they are sound
	for _, db := range found {
		rel, _ := filepath.Rel(top, db.dir)
		got[rel] = db.damage == nil
	}
	want := map[string]bool{"15/main": true, "lost": false, "zeros": false, "long": false}
	for rel, sound := range want {
		if is, ok := got[rel]; !ok || is != sound {
			t.Errorf("%s: %t, %t", rel, ok, is)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
}

// What cannot be read is no absence.
func TestFindDatabasesSaysWhatItCouldNotSee(t *testing.T) {
	top := t.TempDir()
	tr := &trial{volumes: []volume{{at: filepath.Join(top, "gone")}, {at: top}}}
	if _, err := tr.findDatabases(t.Context()); err == nil {
		t.Error("a volume that is not there has no data directory")
	}
}

func TestCheckServers(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	volumes := []volume{{member: snapset.Member{Volume: "one"}, at: one}, {member: snapset.Member{Volume: "two"}, at: two}}
	server := func(name, volume string) docker.Container {
		return docker.Container{Name: name, Image: "postgres:15", Env: []string{"PGDATA=/data/pg"}, Mounts: []docker.Mount{{Type: "volume", Name: volume, Destination: "/data", RW: true}}}
	}
	dbOf := func(i int) database { return database{volume: volumes[i], dir: volumes[i].at} }
	for _, tt := range []struct {
		name        string
		dbs         []database
		containers  []docker.Container
		steps       []string
		checkpoints []string
		want        []string
	}{
		{name: "nobody is missed"},
		{name: "its server has it", dbs: []database{dbOf(0)}, containers: []docker.Container{server("a", "one")}, steps: []string{"a"}, checkpoints: []string{"a"}},
		{name: "it is gone", containers: []docker.Container{server("a", "one")}, want: []string{"postgres a"}},
		{name: "another one is there", dbs: []database{dbOf(1)}, containers: []docker.Container{server("a", "one")}, want: []string{"postgres a"}},
		{name: "each has one", dbs: []database{dbOf(0), dbOf(1)}, containers: []docker.Container{server("a", "one"), server("b", "two")}},
		{name: "no volume of the set", containers: []docker.Container{server("a", "three")}},
		{name: "named by a step", containers: []docker.Container{server("a", "three")}, steps: []string{"a"}, want: []string{"postgres a"}},
		{name: "moved since", dbs: []database{dbOf(0)}, containers: []docker.Container{server("a", "three")}, checkpoints: []string{"a"}},
		{name: "no containers", dbs: []database{dbOf(0)}, steps: []string{"db"}, checkpoints: []string{"project-db-1"}},
		{name: "no containers, and one for two", dbs: []database{dbOf(0)}, checkpoints: []string{"a", "b"}, want: []string{"postgres b"}},
		{name: "no containers, and none", steps: []string{"a"}, want: []string{"postgres a"}},
		{name: "two databases of one", dbs: []database{dbOf(0)}, containers: []docker.Container{server("a", "one")}, checkpoints: []string{"a", "a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &snapset.Manifest{}
			for _, name := range tt.checkpoints {
				m.Checkpoints = append(m.Checkpoints, snapset.Checkpoint{Container: name})
			}
			tr := &trial{volumes: volumes, set: snapset.Set{Manifest: m}}
			for _, name := range tt.steps {
				tr.app.Postgres = append(tr.app.Postgres, Postgres{Container: name})
			}
			for i := range tt.dbs {
				tr.assignOne(&tt.dbs[i], tt.containers)
			}
			tr.checkServers(tt.dbs, tt.containers)
			if got := tr.report.Failed(); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
