package drill

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/testhost"
)

// A server by this host's programs does what whoever wrote the set wants, as its owner, who may be somebody here. It reaches the clone,
// and nothing else of this host that could be written to, asked or run with more rights.
func TestPrivateRoot(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs))
	db := cluster(t)
	outside := t.TempDir()
	for dir := outside; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(outside, db.uid, db.gid); err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, db)
	does := func(command string) string {
		t.Helper()
		program := fmt.Sprintf("cat >/dev/null; { %s; } >/tmp/said 2>&1 || echo refused >>/tmp/said", command)
		for _, sql := range []string{
			"COPY (SELECT 1) TO PROGRAM '" + strings.ReplaceAll(program, "'", "''") + "'",
			"DROP TABLE IF EXISTS said; CREATE TABLE said (n serial, line text); COPY said (line) FROM '/tmp/said' (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')",
		} {
			if err := s.psql(t.Context(), s.user, "postgres", sql, os.Stderr); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
		}
		rows, err := s.rows(t.Context(), s.user, "postgres", "SELECT 'said: ' || coalesce(string_agg(line, ' ' ORDER BY n), '') FROM said")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(rows[0][0], "said: ")
	}

	if got := does("touch " + outside + "/written"); !strings.Contains(got, "refused") {
		t.Errorf("it wrote into a directory of this host: %q", got)
	}
	if found, err := os.ReadDir(outside); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	for name := range strings.FieldsSeq(does("ls /")) {
		if !slices.Contains([]string{"bin", "clones", "dev", "etc", "proc", "run", "sbin", "tmp", "usr", "var"}, name) && !strings.HasPrefix(name, "lib") {
			t.Errorf("%s is in its root", name)
		}
	}
	if got := does("find / -xdev -type s; find /clones/ -type s"); got != "/run/.s.PGSQL.5432" {
		t.Errorf("sockets: %q", got)
	}
	if got := does("ls /proc/1/root/; readlink /proc/1/root"); !strings.HasSuffix(got, " /") || strings.Contains(got, "home") {
		t.Errorf("the first process's root: %q", got)
	}
	for _, command := range []string{
		"touch /usr/bin/written", "touch /etc/written", "cp /bin/true " + hostData + "/program; " + hostData + "/program", "unshare --user true", "unshare --mount true",
	} {
		if got := does(command); !strings.Contains(got, "refused") {
			t.Errorf("%s: %q", command, got)
		}
	}
	for name := range strings.FieldsSeq(does("ls /dev/shm")) {
		if _, err := os.Lstat(filepath.Join("/dev/shm", name)); err == nil {
			t.Errorf("%s is in this host's shared memory, and would stay there", name)
		}
	}
}
