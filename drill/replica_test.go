package drill_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/snapset"
)

// A replica at a target of this host is drilled where it lies, and its verdict is in both records of the set.
func TestReplica(t *testing.T) {
	a := newApp(t, "replica", nil)
	place := filepath.Join(a.pool.Top, "place-"+a.name)
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	a.target = "    replicate: [{target: disk}]\ntargets:\n  disk: {into: 'btrfs:" + place + "'}\n  away: {ssh: someone@backup.example.org}\n"
	set := a.snapshot(t)
	if _, stderr, exit := a.volsnap(t, "", "replicate", a.name); exit != 0 {
		t.Fatal(stderr)
	}
	r, exit := a.drills(t, "--from", "disk")
	if exit != 0 || r.From != "disk" || r.Set != set || !check(r, "postgres").OK {
		t.Errorf("exit status %d: %+v", exit, r)
	}
	for _, dir := range []string{a.state(), filepath.Join(a.state(), "targets", "disk")} {
		var m snapset.Manifest
		if err := json.Unmarshal(read(t, filepath.Join(dir, "sets", a.name, set+".json")), &m); err != nil {
			t.Fatal(err)
		}
		if len(m.Drills) != 1 || !m.Drills[0].OK || m.Drills[0].From != "disk" || m.Drills[0].ReadyMS != r.ReadyMS {
			t.Errorf("%s: %+v", dir, m.Drills)
		}
	}
	if left, err := filepath.Glob(filepath.Join(place, "*", "stage-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	a.clean(t)
	if _, stderr, exit := a.volsnap(t, "", "drill", a.name, "--from", "away"); exit != 2 || !strings.Contains(stderr, "run volsnap drill on the backup server itself") {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
}

// Whoever wrote a replica does not choose which libraries of this host a server loads.
func TestReplicaLoadsNoLibraries(t *testing.T) {
	a := newApp(t, "libraries", func(t *testing.T, a *app) {
		conf := "shared_preload_libraries = 'volsnap_none'\nsession_preload_libraries = 'volsnap_none'\nlocal_preload_libraries = 'volsnap_none'\n"
		overwrite(t, a.pg("postgresql.conf"), append(read(t, a.pg("postgresql.conf")), conf...))
	})
	place := filepath.Join(a.pool.Top, "place-"+a.name)
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	a.target = "    replicate: [{target: disk}]\ntargets:\n  disk: {into: 'btrfs:" + place + "'}\n"
	a.snapshot(t)
	if _, stderr, exit := a.volsnap(t, "", "replicate", a.name); exit != 0 {
		t.Fatal(stderr)
	}
	a.Docker(t, "rm", "-f", a.name+"-db")
	if r, _ := a.drills(t, "--from", "disk"); !r.OK {
		t.Errorf("a replica: %+v", r.Checks)
	}
	if r, _ := a.drills(t); r.OK || !strings.Contains(check(r, "postgres").Detail, "volsnap_none") {
		t.Errorf("the app's own set: %+v", r.Checks)
	}
	a.clean(t)
}

// Where the app has no container any more, this host's programs do it, out of everybody's sight.
func TestOnHost(t *testing.T) {
	a := newApp(t, "onhost", nil)
	a.snapshot(t)
	a.Docker(t, "rm", "-f", a.name+"-db")
	r, exit := a.drills(t, "--full")
	for _, c := range r.Checks {
		t.Logf("%s: %t: %s", c.Name, c.OK, c.Detail)
	}
	if exit != 0 || !strings.Contains(check(r, "postgres").Detail, "by this host's programs") || !check(r, "checksums").OK || !check(r, "rows").OK {
		t.Errorf("exit status %d: %+v", exit, r)
	}
	a.clean(t)
}
