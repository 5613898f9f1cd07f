package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

// cluster makes a data directory on a file system of its own.
func cluster(t *testing.T) database {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	top := testhost.Btrfs(t, 512<<20)
	dir := filepath.Join(top, "data")
	db := database{dir: dir, major: newestHere()}
	db.uid, _ = strconv.Atoi(u.Uid)
	db.gid, _ = strconv.Atoi(u.Gid)
	bin := filepath.Join(hostPrograms, strconv.Itoa(db.major), "bin")
	script := fmt.Sprintf("mkdir %[1]s && chown postgres %[1]s && cd / && for d in %[2]s %[3]s; do chmod 755 $d; done && exec setpriv --reuid=%[4]d --regid=%[5]d --clear-groups %[6]s/initdb --pgdata=%[1]s --username=boss --no-sync --auth=trust",
		dir, top, filepath.Dir(top), db.uid, db.gid, bin)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return db
}

// serve starts this host's server on it, until the test ends or stop is called.
func serve(t *testing.T, db database) (s session, stop func()) {
	t.Helper()
	if _, err := openData(db); err != nil {
		t.Fatal(err)
	}
	host, err := newOnHost(db, fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := host.begin(t.Context(), harmless(hostData, hostSockets))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := host.stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute*testhost.Slow())
	defer cancel()
	if err := awaitReady(ctx, db, ended); err != nil {
		t.Fatalf("%v: %s", err, host.log(ctx))
	}
	return session{host, "boss"}, stop
}

// Without any pg_amcheck the extension is asked by SQL, and finds the same.
func TestCheckBySQL(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs))
	db := cluster(t)
	s, stop := serve(t, db)
	var paths []string
	for i, table := range []string{"one", "two"} {
		sql := fmt.Sprintf("CREATE TABLE %s AS SELECT n + %d AS n FROM generate_series(1, 1000) n; CREATE INDEX %[1]s_n ON %[1]s (n)", table, 10000*i)
		if _, err := s.rows(t.Context(), s.user, "postgres", sql); err != nil {
			t.Fatal(err)
		}
		rows, err := s.rows(t.Context(), s.user, "postgres", "SELECT pg_relation_filepath('"+table+"_n')")
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(db.dir, rows[0][0]))
	}
	tr := &trial{}
	if n, err := tr.checkBySQL(t.Context(), s, db.major); n != 2 || err != nil {
		t.Fatalf("%d databases, %v", n, err)
	}
	stop()
	text, err := os.ReadFile(paths[1])
	if err == nil {
		err = os.WriteFile(paths[0], text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, _ = serve(t, db)
	if _, err := tr.checkBySQL(t.Context(), s, db.major); err == nil || !strings.Contains(err.Error(), "lacks matching index tuple") {
		t.Errorf("the index of another table: %v", err)
	}
}

// What the environment says of servers is not for the checks, and a database may be called whatever it likes.
func TestAsksTheServerThatIsMeant(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs))
	for name, value := range map[string]string{
		"PGHOSTADDR": "127.0.0.1", "PGSERVICE": "live", "PGPORT": "1", "PGSSLMODE": "require", "PGOPTIONS": "-c search_path=nowhere", "PGDATABASE": "live",
		"PGAPPNAME": "somebody", "PGCLIENTENCODING": "SQL_ASCII", "PSQLRC": "/none", "PGTZ": "Asia/Tokyo",
	} {
		t.Setenv(name, value)
	}
	s, _ := serve(t, cluster(t))
	for _, name := range []string{"host=/nowhere", "postgres://nowhere/live", `it's \ odd=`, "dbname='template1'"} {
		if err := s.psql(t.Context(), s.user, "postgres", `CREATE DATABASE "`+name+`"`, os.Stderr); err != nil {
			t.Fatal(err)
		}
		rows, err := s.rows(t.Context(), s.user, name, "SELECT current_database(), current_setting('search_path'), current_setting('TimeZone') = 'Asia/Tokyo'")
		if err != nil || len(rows) != 1 || rows[0][0] != name || strings.Contains(rows[0][1], "nowhere") || rows[0][2] != "f" {
			t.Errorf("%q: %q, %v", name, rows, err)
		}
	}
	if n, err := (&trial{}).checkBySQL(t.Context(), s, newestHere()); n != 6 || err != nil {
		t.Errorf("%d databases, %v", n, err)
	}
}
