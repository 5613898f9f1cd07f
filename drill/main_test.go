package drill_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/fixture/pg"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/report"
)

// rig is what all tests share: a Btrfs, a Docker engine whose volumes lie on it, the program, and the volumes of a small app whose
// server was killed while its log was needed.
type rig struct {
	*testhost.Engine
	pool   *testhost.Pool
	bin    string
	closes []func() error
	paths  map[string]string // of relations below a data directory
}

const (
	poolBytes = 8 << 30
	files     = 40 // that rows name
	dataDir   = "/var/lib/postgresql/data"
)

var (
	shared rig
	setUp  = sync.OnceValue(shared.begin)
)

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	for i := len(shared.closes) - 1; i >= 0; i-- {
		if err := shared.closes[i](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

func theRig(t *testing.T) *rig {
	t.Helper()
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs))
	if err := setUp(); err != nil {
		t.Fatal(err)
	}
	return &shared
}

func (r *rig) begin() error {
	pool, remove, err := testhost.NewPool(testhost.PartBtrfs, poolBytes)
	if err != nil {
		return err
	}
	r.pool, r.closes = pool, append(r.closes, remove)
	if r.Engine, err = testhost.NewEngine(pool.DockerRoot()); err != nil {
		return err
	}
	r.closes = append(r.closes, r.Close)
	r.bin = filepath.Join(pool.Dir, "volsnap")
	if err := testhost.Build(context.Background(), r.bin, testhost.ProgramVolsnap, testhost.TagFault); err != nil {
		return err
	}
	return r.golden()
}

// script makes a cluster if there is none, and runs it as its owner.
const script = `set -e
as() { setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups "$@"; }
data=/var/lib/postgresql/data
if [ ! -s $data/PG_VERSION ]; then
	chown postgres:"$(id -g postgres)" $data
	chmod 700 $data
	as initdb --pgdata=$data --username=app --auth=trust $SUMS --wal-segsize=1 --no-sync --locale=C.UTF-8 --encoding=UTF8
	printf "listen_addresses = ''\nunix_socket_directories = '/sockets'\nmax_connections = 37\nmax_wal_size = 1GB\nwal_recycle = off\n" >>$data/postgresql.conf
	echo "CREATE DATABASE app" | as postgres --single -D $data postgres
fi
exec setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups postgres -D $data
`

func (r *rig) volume(name string) string { return filepath.Join(r.DataRoot, "volumes", name) }

// golden fills the volumes from which those of each test are cloned.
func (r *rig) golden() error {
	for _, v := range []string{"golden-pg", "golden-files"} {
		if err := run("btrfs", "-q", "subvolume", "create", r.volume(v)); err != nil {
			return err
		}
	}
	sockets := filepath.Join(r.pool.Dir, "s")
	if err := errors.Join(os.Mkdir(sockets, 0o755), os.Chmod(sockets, 0o777)); err != nil {
		return err
	}
	if _, err := r.StartContainer("golden", testhost.RunOptions{Flags: r.flags("golden", sockets), Command: []string{"/bin/sh", "-c", script}}); err != nil {
		return err
	}
	if err := r.fill(sockets); err != nil {
		return err
	}
	if _, err := r.CLI("kill", "golden"); err != nil {
		return err
	}
	_, err := r.CLI("rm", "golden")
	return err
}

func (r *rig) flags(name, sockets string) []string {
	return []string{
		"-v", name + "-pg:" + dataDir, "-v", name + "-files:/files", "-v", sockets + ":/sockets",
		"-e", "PATH=" + programs() + ":/usr/sbin:/usr/bin:/sbin:/bin", "-e", "POSTGRES_USER=app", "-e", "SUMS=--data-checksums", "-e", "PGDATA=" + dataDir,
	}
}

func programs() string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// fill writes rows and the files that they name, and after the last checkpoint more log than one segment holds.
func (r *rig) fill(sockets string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute*testhost.Slow())
	defer cancel()
	db, err := dial(ctx, sockets)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	sql := "CREATE TABLE files (id serial PRIMARY KEY, path text UNIQUE NOT NULL);"
	for i := range files {
		text := fmt.Sprintf("content of file %d", i)
		name := sum(text)
		if err := os.WriteFile(filepath.Join(r.volume("golden-files"), "_data", name), []byte(text), 0o644); err != nil {
			return err
		}
		sql += fmt.Sprintf("INSERT INTO files (path) VALUES ('%s');", name)
	}
	for i, table := range []string{"cold", "other"} {
		sql += fmt.Sprintf(`CREATE TABLE %s (n int, t text); INSERT INTO %[1]s SELECT n + %d, repeat('x', 100) FROM generate_series(1, 20000) n;
CREATE INDEX %[1]s_n ON %[1]s (n);`, table, 100000*i)
	}
	if _, err := db.Query(ctx, sql); err != nil {
		return err
	}
	if _, err := db.Query(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	r.paths = map[string]string{}
	for _, name := range []string{"cold", "cold_n", "other_n"} {
		rows, err := db.Query(ctx, "SELECT pg_relation_filepath('"+name+"')")
		if err != nil {
			return err
		}
		r.paths[name] = rows[0][0]
	}
	_, err = db.Query(ctx, "CREATE TABLE hot AS SELECT n, md5(n::text) || repeat('y', 200) AS t FROM generate_series(1, 20000) n")
	return err
}

func dial(ctx context.Context, dir string) (*pg.Conn, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		db, err := pg.Dial(ctx, dir, "app", "app")
		if err == nil {
			return db, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-again.C:
		}
	}
}

func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%q: %w: %s", argv, err, out)
	}
	return nil
}

// app is volumes of its own, cloned from the golden ones, and a container that does not run.
type app struct {
	*rig
	name   string
	dir    string
	config string
	user   string // of the configuration
	drill  string // of the configuration
	target string
	more   string   // volumes of the configuration
	mounts []string // flags of the container
	steps  string   // of the freeze; empty: the usual ones
}

// newApp makes one. plant damages its volumes.
func newApp(t *testing.T, name string, plant func(t *testing.T, a *app)) *app {
	t.Helper()
	r := theRig(t)
	dir := filepath.Join(r.pool.Dir, name)
	a := &app{rig: r, name: name, dir: dir, config: filepath.Join(dir, "volsnap.yaml"), user: "app", drill: "{query: SELECT path FROM files, volume: " + name + "-files}"}
	for _, dir := range []string{dir, filepath.Join(dir, "s")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"-pg", "-files"} {
		if err := run("btrfs", "-q", "subvolume", "snapshot", r.volume("golden"+v), r.volume(name+v)); err != nil {
			t.Fatal(err)
		}
		r.Docker(t, "volume", "create", name+v)
	}
	top := filepath.Dir(a.pg("PG_VERSION")) // which Docker has made root's, for all to read
	if err := errors.Join(run("chown", "--reference="+a.pg("PG_VERSION"), top), os.Chmod(top, 0o700)); err != nil {
		t.Fatal(err)
	}
	if plant != nil {
		plant(t, a)
	}
	args := append([]string{"create", "--name", name + "-db", "-v", "/usr:/usr:ro", "--network", "none"}, a.flags(name, filepath.Join(dir, "s"))...)
	args = append(args, a.mounts...)
	r.Docker(t, append(args, testhost.ImageName, "/bin/sh", "-c", script)...)
	t.Cleanup(func() { _, _ = r.CLI("rm", "-f", name+"-db") }) // a test may have removed it
	return a
}

func (a *app) pg(rel string) string { return filepath.Join(a.volume(a.name+"-pg"), "_data", rel) }

func (a *app) files(rel string) string { return filepath.Join(a.volume(a.name+"-files"), "_data", rel) }
func (a *app) state() string           { return filepath.Join(a.dir, "state") }

func (a *app) configure(t *testing.T) {
	t.Helper()
	steps := cmp.Or(a.steps, fmt.Sprintf("[{postgres: {container: %s-db, user: %s}}, {pause: {}}]", a.name, a.user))
	text := fmt.Sprintf(`version: 1
state_dir: %q
run_dir: %q
metrics: %q
apps:
  %s:
    volumes:
      - volume: %[4]s-pg
      - volume: %[4]s-files
%[8]s    freeze: {steps: %[7]s}
    drill: %[5]s
%[6]s`, a.state(), filepath.Join(a.dir, "run"), filepath.Join(a.dir, "m.prom"), a.name, a.drill, a.target, steps, a.more)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is the program, to be started. It does the fault, if there is one.
func (a *app) command(t *testing.T, fault string, args ...string) *exec.Cmd {
	t.Helper()
	a.configure(t)
	cmd := exec.CommandContext(t.Context(), a.bin, append([]string{"--config", a.config, "--log-format", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+a.Host, "VOLSNAP_FAULT="+fault, "VOLSNAP_FAULT_LOG="+filepath.Join(a.dir, "points"))
	return cmd
}

// volsnap runs it to its end.
func (a *app) volsnap(t *testing.T, fault string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := a.command(t, fault, args...)
	enough := time.AfterFunc(2*time.Minute*testhost.Slow(), func() { _ = cmd.Process.Kill() })
	defer enough.Stop()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (a *app) snapshot(t *testing.T) string {
	t.Helper()
	out, stderr, exit := a.volsnap(t, "", "snapshot", a.name)
	if exit != 0 {
		t.Fatalf("snapshot: exit status %d: %s", exit, stderr)
	}
	return strings.TrimSpace(out)
}

// drills is a drill, its report, and how it ended.
func (a *app) drills(t *testing.T, args ...string) (report.Drill, int) {
	t.Helper()
	out, stderr, exit := a.volsnap(t, "", append([]string{"drill", a.name, "--json"}, args...)...)
	var r report.Drill
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("exit status %d: %v: %q: %s", exit, err, out, stderr)
	}
	if (exit == 0) != r.OK || exit > 1 {
		t.Errorf("exit status %d, and ok is %t: %s", exit, r.OK, stderr)
	}
	return r, exit
}

// clean fails the test if something of a drill is left.
func (a *app) clean(t *testing.T) {
	t.Helper()
	if out := a.Docker(t, "ps", "-a", "--filter", "label=io.volsnap.drill", "--format", "{{.Names}}"); out != "" {
		t.Errorf("containers are left: %s", out)
	}
	for _, pattern := range []string{
		filepath.Join(a.pool.Top, ".volsnap", "*", "stage-drill."+a.name+".*"), filepath.Join(a.dir, "run", "mounts", "*"), filepath.Join(a.state(), "drills", "*"),
		filepath.Join(a.dir, "replicas", "*", "stage-*"),
	} {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), "stage-drill."+a.name) {
		t.Errorf("something is still mounted: %v", err)
	}
}

func check(r report.Drill, name string) report.DrillCheck {
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	return report.DrillCheck{}
}
