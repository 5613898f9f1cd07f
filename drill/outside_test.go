package drill_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// outside makes a subvolume beside the volumes, which the server's owner may write to.
func (a *app) outside(t *testing.T, name string) string {
	t.Helper()
	at := filepath.Join(a.pool.Top, name+"-"+a.name)
	if err := run("btrfs", "-q", "subvolume", "create", at); err != nil {
		t.Fatal(err)
	}
	for dir := a.pool.Top; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := run("chmod", "a+rx", dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := run("chown", "--reference="+a.pg("PG_VERSION"), at); err != nil {
		t.Fatal(err)
	}
	return at
}

// moveOut moves a part of the data directory and leaves a link to it.
func (a *app) moveOut(t *testing.T, name, to string) {
	t.Helper()
	if err := run("mv", a.pg(name), to); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, a.pg(name)); err != nil {
		t.Fatal(err)
	}
}

var catalogueVersion = regexp.MustCompile(`Catalog version number: *([0-9]+)`)

// tablespace plants one, with a file in it that PostgreSQL removes wherever it starts.
func (a *app) tablespace(t *testing.T, at string) {
	t.Helper()
	said, err := exec.Command(filepath.Join(programs(), "pg_controldata"), a.pg("")).CombinedOutput()
	found := catalogueVersion.FindSubmatch(said)
	if err != nil || found == nil {
		t.Fatalf("%v: %s", err, said)
	}
	dir := fmt.Sprintf("%s/PG_%s_%s", at, strings.TrimSpace(string(read(t, a.pg("PG_VERSION")))), found[1])
	if err := os.MkdirAll(filepath.Join(dir, "pgsql_tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(dir, "pgsql_tmp", "pgsql_tmp1.0"), []byte("of a query that runs"))
	if err := run("chown", "-R", "--reference="+a.pg("PG_VERSION"), at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at, a.pg("pg_tblspc/16390")); err != nil {
		t.Fatal(err)
	}
}

// tally is all that can change below a directory.
func tally(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := ""
		if info.Mode().IsRegular() {
			text = sum(string(read(t, path)))
		}
		fmt.Fprintln(&all, path, info.Mode(), info.ModTime(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// What a link leads to that is not in the set was not restored, and may be the live app's: the drill fails, and leaves it alone.
func TestLinkOutOfTheSet(t *testing.T) {
	for _, tt := range []struct {
		name  string
		says  string
		plant func(t *testing.T, a *app, out string)
	}{
		{"link-wal", "pg_wal leads to ", func(t *testing.T, a *app, out string) { a.moveOut(t, "pg_wal", out+"/wal") }},
		{"link-space", "pg_tblspc/16390 leads to ", func(t *testing.T, a *app, out string) { a.tablespace(t, out) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out string
			a := newApp(t, tt.name, func(t *testing.T, a *app) {
				out = a.outside(t, "out")
				tt.plant(t, a, out)
			})
			a.snapshot(t)
			before := tally(t, out)
			for _, by := range []string{"in a container", "by this host's programs"} {
				r, exit := a.drills(t)
				if d := check(r, "postgres").Detail; exit != 1 || !strings.Contains(d, tt.says+out) || !strings.Contains(d, "not in the set") {
					t.Errorf("%s: exit status %d: %+v", by, exit, r.Checks)
				}
				if after := tally(t, out); after != before {
					t.Errorf("%s: it was\n%s\nand is\n%s", by, before, after)
				}
				a.Docker(t, "rm", "-f", a.name+"-db")
			}
			a.clean(t)
		})
	}
}

// Where it leads to another volume of the set, that one's clone is taken, and never the volume.
func TestLinkToAnotherVolume(t *testing.T) {
	var wal, space string
	a := newApp(t, "linked", func(t *testing.T, a *app) {
		wal, space = a.outside(t, "wal"), a.outside(t, "space")
		a.moveOut(t, "pg_wal", wal+"/wal")
		a.tablespace(t, space)
		a.more = "      - path: " + wal + "\n      - path: " + space + "\n"
		a.mounts = []string{"-v", wal + ":" + wal, "-v", space + ":" + space}
	})
	sound := a.snapshot(t)
	segments, err := filepath.Glob(filepath.Join(wal, "wal", "0000*"))
	if err != nil || len(segments) < 4 {
		t.Fatalf("%q, %v", segments, err)
	}
	remove(t, segments[2])
	a.snapshot(t)
	if r, _ := a.drills(t); check(r, "wal").OK || !strings.Contains(check(r, "wal").Detail, "a segment is missing") {
		t.Errorf("%+v", r.Checks)
	}
	before := tally(t, wal) + tally(t, space)
	for _, by := range []string{"in a container", "by this host's programs"} {
		r, _ := a.drills(t, "--set", sound)
		if !r.OK || !strings.Contains(check(r, "postgres").Detail, by) || !strings.Contains(check(r, "wal").Detail, "segments from") {
			t.Errorf("%s: %+v", by, r.Checks)
		}
		a.Docker(t, "rm", "-f", a.name+"-db")
	}
	if after := tally(t, wal) + tally(t, space); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	a.clean(t)
}

// The log may be a volume that is mounted in the data directory, below which there is an empty directory.
func TestLogInAVolumeOfItsOwn(t *testing.T) {
	const image = "volsnap-own-log"
	a := newApp(t, "own-log", func(t *testing.T, a *app) {
		wal := a.outside(t, "wal")
		a.more = "      - path: " + wal + "\n"
		a.mounts = []string{"-v", wal + ":" + dataDir + "/pg_wal"}
		if err := run("cp", "-a", a.pg("pg_wal")+"/.", wal); err != nil {
			t.Fatal(err)
		}
		if err := run("find", a.pg("pg_wal"), "-mindepth", "1", "-delete"); err != nil {
			t.Fatal(err)
		}
	})
	a.Docker(t, "commit", a.name+"-db", image)
	a.again(t, image, programs())
	a.snapshot(t)
	for _, by := range []string{"in a container", "by this host's programs"} {
		r, _ := a.drills(t)
		if !r.OK || !strings.Contains(check(r, "postgres").Detail, by) || !strings.Contains(check(r, "wal").Detail, "segments from") {
			t.Errorf("%s: %+v", by, r.Checks)
		}
		if by == "in a container" {
			a.Docker(t, "rmi", "-f", image)
		}
	}
	a.clean(t)
}
