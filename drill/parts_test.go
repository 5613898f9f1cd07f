package drill

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/snapset"
)

func TestServerOptions(t *testing.T) {
	for _, tt := range []struct{ argv, want []string }{
		{[]string{"docker-entrypoint.sh", "postgres"}, nil},
		{[]string{"docker-entrypoint.sh", "postgres", "-c", "max_connections=300"}, []string{"-c", "max_connections=300"}},
		{[]string{"/usr/lib/postgresql/15/bin/postgres", "-D", "/data"}, []string{"-D", "/data"}},
		{[]string{"/bin/sh", "/postgres.sh"}, nil},
		{nil, nil},
	} {
		if got := serverOptions(tt.argv); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.argv, got, tt.want)
		}
	}
}

// What a set holds must not lead out of its clone.
func TestPlainPath(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"data", "data/deep"} {
		if err := os.Mkdir(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": "/etc", "data/up": "../..", "in": "data"} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, rel := range []string{".", "data", "data/deep"} {
		if at, err := plainPath(top, rel); err != nil || at != filepath.Join(top, rel) {
			t.Errorf("%s: %s, %v", rel, at, err)
		}
	}
	for _, rel := range []string{"out", "data/up", "in", "in/deep", "..", "/etc", "data/../..", "none", ""} {
		if at, err := plainPath(top, rel); err == nil {
			t.Errorf("%s: %s", rel, at)
		}
	}
}

func TestParseLSN(t *testing.T) {
	if at, err := parseLSN("1/A0"); at != 1<<32|0xa0 || err != nil {
		t.Errorf("%x, %v", at, err)
	}
	for _, s := range []string{"", "/", "1", "1/", "1/G", "1/123456789", "-1/0"} {
		if at, err := parseLSN(s); err == nil {
			t.Errorf("%q: %x", s, at)
		}
	}
}

func TestNamesIn(t *testing.T) {
	page := make([]byte, 512)
	copy(page[64:], "aleph")
	copy(page[160:], "pg_monitor")
	copy(page[256:], "two words")
	copy(page[330:], "unaligned")
	copy(page[500:], "cut off")
	if got := namesIn(page); !slices.Contains(got, "aleph") || slices.Contains(got, "pg_monitor") || slices.Contains(got, "two words") || slices.Contains(got, "unaligned") {
		t.Errorf("%q", got)
	}
}

// Of volumes that lie in each other the innermost has what is mounted, in whatever order they are.
func TestCloneOfInner(t *testing.T) {
	outer, inner := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(outer, "pg"), filepath.Join(inner, "data")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	volumes := []volume{{member: snapset.Member{Volume: "/none/app"}, at: outer}, {member: snapset.Member{Volume: "/none/app/pg"}, at: inner}}
	for range 2 {
		tr := &trial{volumes: volumes}
		for source, want := range map[string]string{
			"/none/app": outer, "/none/app/pg": inner, "/none/app/pg/data": filepath.Join(inner, "data"), "/none/app/none": "", "/none/apple": "",
		} {
			if at, ok := tr.cloneOf(docker.Mount{Type: "bind", Source: source}); at != want || ok != (want != "") {
				t.Errorf("%s: %q, %t; want %q", source, at, ok, want)
			}
		}
		slices.Reverse(volumes)
	}
}

// The log that a server came up with is held against the manifest, also where no container says which server it is.
func TestCheckRecovery(t *testing.T) {
	like := &docker.Container{Name: "a"}
	for _, tt := range []struct {
		name  string
		db    database
		has   []snapset.Checkpoint
		ok    bool
		says  string
		never string
	}{
		{name: "nothing to compare", db: database{alone: true}, ok: true, never: "compared"},
		{name: "reached", db: database{like: like}, has: []snapset.Checkpoint{{Container: "a", LSN: "0/100"}, {Container: "b", LSN: "0/300"}}, ok: true, never: "compared"},
		{name: "not reached", db: database{like: like}, has: []snapset.Checkpoint{{Container: "a", LSN: "0/201"}}, says: "is lost"},
		{name: "not reached, without a container", db: database{alone: true}, has: []snapset.Checkpoint{{Container: "a", LSN: "0/100"}, {Container: "a", LSN: "0/201"}}, says: "is lost"},
		{name: "not reached, with another name", db: database{like: like, alone: true}, has: []snapset.Checkpoint{{Container: "old", LSN: "0/201"}}, says: "is lost"},
		{name: "one of two", db: database{}, has: []snapset.Checkpoint{{Container: "a", LSN: "0/201"}}, ok: true, says: "not compared"},
		{name: "of one of two", db: database{alone: true}, has: []snapset.Checkpoint{{Container: "a", LSN: "0/201"}, {Container: "b", LSN: "0/1"}}, ok: true, says: "not compared"},
		{name: "no position", db: database{like: like}, has: []snapset.Checkpoint{{Container: "a", LSN: "lies"}}, says: `"lies" is no position`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := &trial{set: snapset.Set{Manifest: &snapset.Manifest{Checkpoints: tt.has}}}
			tr.checkRecovery(facts{lsn: "0/200"}, tt.db, "postgres", "up", nil)
			c := tr.report.Checks[0]
			if c.OK != tt.ok || !strings.Contains(c.Detail, tt.says) || tt.never != "" && strings.Contains(c.Detail, tt.never) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// What is refused is said, and nothing is begun.
func TestRefusedDataDirectories(t *testing.T) {
	for says, db := range map[string]database{
		"since 12":  {major: 11, uid: 999},
		"is root's": {major: 15},
		"torn":      {major: 15, uid: 999, damage: errors.New("torn")},
	} {
		tr := &trial{}
		if _, err := tr.prepare(&db, ""); err == nil || !strings.Contains(err.Error(), says) || len(tr.report.Checks) > 0 {
			t.Errorf("%v, %+v", err, tr.report.Checks)
		}
	}
}
