package drill_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// TestDamage plants one damage at a time, each of which has to be found by the checks that are named, and by those alone that may.
func TestDamage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(t *testing.T, a *app)
		want  []string // fail
		may   []string // fail too
		says  string   // in the detail of the first
	}{
		{"flipped-heap", func(t *testing.T, a *app) { flip(t, a.pg(a.paths["cold"]), 5*8192+6000) }, []string{"checksums"}, []string{"pg_amcheck"}, "Bad checksums: 1"},
		{
			// Each page of both is sound, and has the checksum of its place.
			"wrong-index", func(t *testing.T, a *app) { overwrite(t, a.pg(a.paths["cold_n"]), read(t, a.pg(a.paths["other_n"]))) },
			[]string{"pg_amcheck"},
			nil, "lacks matching index tuple",
		},
		{"missing-wal", func(t *testing.T, a *app) { remove(t, a.segments(t)[2]) }, []string{"wal"}, []string{"pg_amcheck", "postgres"}, "a segment is missing"},
		{"missing-first-wal", func(t *testing.T, a *app) { remove(t, a.segments(t)[0]) }, []string{"wal", "postgres"}, nil, "a segment is missing"},
		{"torn-file", func(t *testing.T, a *app) { truncate(t, a.files(sum("content of file 7"))) }, []string{"content torn-file-files"}, nil, sum("content of file 7")},
		{"missing-file", func(t *testing.T, a *app) { remove(t, a.files(sum("content of file 7"))) }, []string{"rows"}, nil, sum("content of file 7")},
		{
			"link-for-file", func(t *testing.T, a *app) {
				remove(t, a.files(sum("content of file 7")))
				if err := os.Symlink("/etc/passwd", a.files(sum("content of file 7"))); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"rows"},
			nil, sum("content of file 7"),
		},
		{"no-database", func(t *testing.T, a *app) { remove(t, a.pg("global/pg_control")) }, []string{"postgres", "rows"}, nil, "global/pg_control is not"},
		{"no-version", func(t *testing.T, a *app) { overwrite(t, a.pg("PG_VERSION"), make([]byte, 3)) }, []string{"postgres", "rows"}, nil, "PG_VERSION is"},
		{"lock-is-dir", func(t *testing.T, a *app) { occupy(t, a.pg("postmaster.pid")) }, []string{"postgres"}, nil, "postmaster.pid"},
		{"fifo-version", func(t *testing.T, a *app) { fifo(t, a.pg("PG_VERSION")) }, []string{"postgres", "rows"}, nil, "no regular file"},
		{"fifo-control", func(t *testing.T, a *app) { fifo(t, a.pg("global/pg_control")) }, []string{"postgres", "rows"}, nil, "no regular file"},
		{"fifo-wal", func(t *testing.T, a *app) { fifo(t, a.segments(t)[1]) }, []string{"wal", "postgres"}, nil, "no regular file"},
		{"bad-control", func(t *testing.T, a *app) { flip(t, a.pg("global/pg_control"), 100) }, []string{"postgres"}, nil, "checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t, tt.name, tt.plant)
			a.snapshot(t)
			r, exit := a.drills(t)
			for _, name := range tt.want {
				if !slices.Contains(r.Failed(), name) {
					t.Errorf("%q did not fail, but %q: %+v", name, r.Failed(), r.Checks)
				}
			}
			for _, name := range r.Failed() {
				if !slices.Contains(slices.Concat(tt.want, tt.may), name) {
					t.Errorf("%q failed: %s", name, check(r, name).Detail)
				}
			}
			if d := check(r, tt.want[0]).Detail; exit != 1 || !strings.Contains(d, tt.says) {
				t.Errorf("exit status %d, %q does not say %q", exit, d, tt.says)
			}
			a.clean(t)
		})
	}
}

// A server of which nothing is left is missed, though nothing in the configuration names it, or another one is there.
func TestNothingOfTheDatabase(t *testing.T) {
	for _, second := range []bool{false, true} {
		a := newApp(t, fmt.Sprintf("nothing-%t", second), func(t *testing.T, a *app) {
			top := filepath.Dir(a.pg("PG_VERSION"))
			if second {
				if err := run("cp", "-a", "--reflink=always", top, a.files("second")); err != nil {
					t.Fatal(err)
				}
			}
			if err := run("find", top, "-mindepth", "1", "-delete"); err != nil {
				t.Fatal(err)
			}
		})
		a.steps, a.drill = "[]", "{}"
		a.snapshot(t)
		r, exit := a.drills(t)
		want := "postgres " + a.name + "-db"
		if exit != 1 || !slices.Equal(r.Failed(), []string{want}) || !strings.Contains(check(r, want).Detail, "no volume of the set holds a data directory") {
			t.Errorf("another one: %t: exit status %d: %+v", second, exit, r.Checks)
		}
		if second && !check(r, "postgres").OK {
			t.Errorf("the other one: %+v", r.Checks)
		}
		a.clean(t)
	}
}

// What is left of a drill does not keep it from having a verdict.
func TestVerdictThoughSomethingIsLeft(t *testing.T) {
	a := newApp(t, "verdict", func(t *testing.T, a *app) { truncate(t, a.files(sum("content of file 7"))) })
	set := a.snapshot(t)
	cmd := a.command(t, "stop@before PostgreSQL is stopped", "drill", a.name, "--json")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	a.reach(t, "before PostgreSQL is stopped")
	awaitStopped(t, cmd.Process.Pid)
	journal := filepath.Join(a.state(), "drills", a.name+".json")
	occupy(t, journal)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
	var r report.Drill
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || !slices.Equal(r.Failed(), []string{"content verdict-files"}) {
		t.Errorf("%v: %q", err, out.String())
	}
	kept, err := report.LoadDrill(a.state(), a.name)
	if err != nil || kept == nil || kept.OK || kept.Set != set {
		t.Errorf("%+v, %v", kept, err)
	}
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	a.clean(t)
}

// TestManifestLies changes what is recorded of a set, which then counts for nothing: no older set is drilled in its stead.
func TestManifestLies(t *testing.T) {
	for _, tt := range []struct {
		name string
		lie  func(m *snapset.Manifest)
	}{
		{"guid", func(m *snapset.Manifest) { m.Members[0].GUID = "01234567-89ab-cdef-0123-456789abcdef" }},
		{"swapped", func(m *snapset.Manifest) {
			m.Members[0].Volume, m.Members[1].Volume = m.Members[1].Volume, m.Members[0].Volume
		}},
		{"renamed", func(m *snapset.Manifest) { m.Members[1].Volume = "another" }},
		{"moved", func(m *snapset.Manifest) { m.Members[1].Path = "." }},
		{"fewer", func(m *snapset.Manifest) { m.Members = m.Members[:1] }},
		{"more", func(m *snapset.Manifest) { m.Members = append(m.Members, m.Members[0]); m.Members[2].Volume = "third" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t, "lie-"+tt.name, nil)
			a.snapshot(t)
			set := a.snapshot(t)
			path := filepath.Join(a.state(), "sets", a.name, set+".json")
			var m snapset.Manifest
			if err := json.Unmarshal(read(t, path), &m); err != nil {
				t.Fatal(err)
			}
			tt.lie(&m)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, path, text)
			r, exit := a.drills(t)
			if exit != 1 || !slices.Equal(r.Failed(), []string{"set"}) || r.Set != set || len(r.Checks) != 1 {
				t.Errorf("exit status %d: %+v", exit, r)
			}
			a.clean(t)
		})
	}
}

// segments are the files of the write-ahead log that recovery needs, oldest first.
func (a *app) segments(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(a.pg("pg_wal"), "0000*"))
	if err != nil || len(found) < 4 {
		t.Fatalf("segments: %q, %v", found, err)
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// overwrite leaves the owner as he is.
func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	text := read(t, path)
	text[at] ^= 1
	overwrite(t, path, text)
}

func truncate(t *testing.T, path string) {
	t.Helper()
	text := read(t, path)
	overwrite(t, path, text[:len(text)-3])
}

func fifo(t *testing.T, path string) {
	t.Helper()
	remove(t, path)
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
}

// occupy puts a directory with something in it in the place of a file.
func occupy(t *testing.T, path string) {
	t.Helper()
	remove(t, path)
	if err := os.MkdirAll(filepath.Join(path, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
