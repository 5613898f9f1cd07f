package drill_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/testhost"
)

// again makes the app's container anew, with other flags before the usual ones.
func (a *app) again(t *testing.T, image string, path string, command ...string) {
	t.Helper()
	a.Docker(t, "rm", "-f", a.name+"-db")
	args := append([]string{"create", "--name", a.name + "-db", "-v", "/usr:/usr:ro", "--network", "none"}, a.flags(a.name, filepath.Join(a.dir, "s"))...)
	args = append(append(args, a.mounts...), "-e", "PATH="+path, "-v", a.dir+":"+a.dir+":ro", image)
	a.Docker(t, append(args, command...)...)
}

// few is a directory of links to some of PostgreSQL's programs.
func (a *app) few(t *testing.T, names ...string) string {
	t.Helper()
	dir := filepath.Join(a.dir, "few")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(filepath.Join(programs(), name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Where the image has no pg_amcheck this host's does it, through the container's socket.
func TestHostsAmcheck(t *testing.T) {
	t.Setenv("PGHOSTADDR", "127.0.0.1")
	t.Setenv("PGSERVICE", "live")
	a := newApp(t, "few", nil)
	a.again(t, testhost.ImageName, a.few(t, "postgres", "psql", "pg_checksums"), "postgres", "-c", "max_connections=41")
	a.snapshot(t)
	r, _ := a.drills(t)
	if c := check(r, "pg_amcheck"); !r.OK || !strings.Contains(c.Detail, "this host's pg_amcheck") {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// What cannot be checked has failed.
func TestWithoutChecksumsProgram(t *testing.T) {
	a := newApp(t, "fewer", nil)
	a.again(t, testhost.ImageName, a.few(t, "postgres", "psql"), "postgres", "-c", "max_connections=41")
	a.snapshot(t)
	r, exit := a.drills(t)
	if c := check(r, "checksums"); exit != 1 || c.OK || !strings.Contains(c.Detail, "no pg_checksums") {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// An image that is gone is no reason to give up.
func TestImageIsGone(t *testing.T) {
	a := newApp(t, "gone", nil)
	a.Docker(t, "commit", a.name+"-db", "volsnap-gone")
	a.again(t, "volsnap-gone", programs())
	a.snapshot(t)
	a.Docker(t, "rmi", "-f", "volsnap-gone")
	r, _ := a.drills(t)
	if !r.OK || !strings.Contains(check(r, "postgres").Detail, "by this host's programs") {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// Where the app has a newer major version by now, this host's programs of the old one do it.
func TestUpgradedSince(t *testing.T) {
	a := newApp(t, "upgraded", nil)
	dir := a.few(t)
	text := "#!/bin/sh\necho 'FATAL:  database files are incompatible with server' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "postgres"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	a.again(t, testhost.ImageName, dir+":/usr/bin", "postgres")
	a.snapshot(t)
	r, _ := a.drills(t)
	if !r.OK || !strings.Contains(check(r, "postgres").Detail, "by this host's programs") {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// A set may hold several servers, and a data directory need not be the top of a volume.
func TestTwoServers(t *testing.T) {
	a := newApp(t, "two", func(t *testing.T, a *app) {
		if err := run("cp", "-a", "--reflink=always", filepath.Dir(a.pg("PG_VERSION")), a.files("second")); err != nil {
			t.Fatal(err)
		}
		remove(t, a.files("second/global/pg_filenode.map"))
	})
	if err := os.Chmod(a.files("second"), 0o700); err != nil {
		t.Fatal(err)
	}
	a.snapshot(t)
	r, exit := a.drills(t)
	if !check(r, "postgres two-pg").OK || !check(r, "checksums two-pg").OK || !check(r, "rows").OK || check(r, "pg_amcheck two-files").OK || exit != 1 {
		t.Errorf("%+v", r.Checks)
	}
	for _, name := range r.Failed() {
		if !strings.HasSuffix(name, "two-files") {
			t.Errorf("%s failed: %s", name, check(r, name).Detail)
		}
	}
	a.clean(t)
}

// One of two that has lost its control file is missed.
func TestSecondServerWithoutControl(t *testing.T) {
	a := newApp(t, "two-one", func(t *testing.T, a *app) {
		if err := run("cp", "-a", "--reflink=always", filepath.Dir(a.pg("PG_VERSION")), a.files("second")); err != nil {
			t.Fatal(err)
		}
		remove(t, a.files("second/global/pg_control"))
	})
	a.snapshot(t)
	r, exit := a.drills(t)
	if exit != 1 || !slices.Equal(r.Failed(), []string{"postgres two-one-files"}) || !check(r, "postgres two-one-pg").OK || !check(r, "rows").OK {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// A standby is recovered as a server of its own, and an archive is not asked.
func TestStandby(t *testing.T) {
	for _, signal := range []string{"standby.signal", "recovery.signal"} {
		t.Run(signal, func(t *testing.T) {
			a := newApp(t, strings.TrimSuffix(signal, ".signal"), func(t *testing.T, a *app) {
				overwrite(t, a.pg(signal), nil)
				conf := "primary_conninfo = 'host=/nowhere'\nrestore_command = 'touch /files/asked; false'\narchive_mode = on\narchive_command = 'touch /files/asked'\n" +
					"synchronous_standby_names = 'nobody'\nhuge_pages = on\nssl = on\nlisten_addresses = '*'\nlogging_collector = on\n"
				overwrite(t, a.pg("postgresql.conf"), append(read(t, a.pg("postgresql.conf")), conf...))
				overwrite(t, a.pg("pg_hba.conf"), []byte("local all all reject\n"))
			})
			a.snapshot(t)
			r, _ := a.drills(t)
			if !r.OK || !strings.Contains(check(r, "postgres").Detail, signal) {
				t.Errorf("%+v", r.Checks)
			}
			a.clean(t)
		})
	}
}

// Nobody has to say who the superuser is.
func TestUnknownSuperuser(t *testing.T) {
	a := newApp(t, "nobody", nil)
	a.drill = "{}"
	a.user = "stranger"
	a.snapshot(t)
	a.Docker(t, "rm", "-f", a.name+"-db")
	if r, _ := a.drills(t); !r.OK {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// A query that cannot be answered, or is none, fails.
func TestBadQueries(t *testing.T) {
	a := newApp(t, "queries", nil)
	a.snapshot(t)
	for _, tt := range []struct{ query, says string }{
		{"SELECT path, id FROM files", "several columns"},
		{"SELECT nothing FROM files", "does not exist"},
		{"SELECT '../../../../../../etc/passwd'", "1 of 1 rows"},
		{"SELECT NULL", "1 of 1 rows"},
		{"SELECT pg_sleep(60)", "took longer"},
	} {
		a.drill = `{query: "` + tt.query + `", volume: queries-files, timeout: 4s}`
		r, exit := a.drills(t)
		if c := check(r, "rows"); exit != 1 || c.OK || !strings.Contains(c.Detail, tt.says) || len(r.Failed()) != 1 {
			t.Errorf("%s: %+v", tt.query, r.Checks)
		}
	}
	a.drill = `{query: "SELECT path FROM files, generate_series(1, 50000)", volume: queries-files}` // 130 MB
	if r, _ := a.drills(t); !r.OK || !strings.Contains(check(r, "rows").Detail, "2000000 rows") {
		t.Errorf("%+v", r.Checks)
	}
	a.clean(t)
}

// An interrupted drill has no verdict, and leaves nothing.
func TestInterrupted(t *testing.T) {
	a := newApp(t, "interrupted", nil)
	a.snapshot(t)
	for _, point := range []string{"after stage", "after start of a container", "after PostgreSQL was ready"} {
		out, stderr, exit := a.volsnap(t, "term@"+point, "drill", a.name, "--json")
		if exit != 130 || out != "" {
			t.Errorf("%s: exit status %d, %q: %s", point, exit, out, stderr)
		}
		a.clean(t)
		a.noServers(t)
	}
	if _, err := os.Stat(filepath.Join(a.state(), "last-drill")); err == nil {
		t.Error("it kept a verdict")
	}
}
