package drill

import (
	"os"
	"path/filepath"
	"slices"
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
