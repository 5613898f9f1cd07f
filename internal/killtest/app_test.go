package killtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	limit  = 2 * time.Second // freeze.limit of the app
	bound  = limit + time.Second
	marker = "tmp/marker" // is there, in the first writer, while its exec step holds

	fileSystem = 1 << 30
)

// host is a Btrfs and a Docker engine whose data lies on it.
type host struct {
	*testhost.Engine
	client *docker.Client
	mnt    string
	bin    string // directory of the programs
}

func newHost(t *testing.T, flags ...string) *host {
	t.Helper()
	mnt := testhost.Btrfs(t, fileSystem)
	e := testhost.StartEngine(t, filepath.Join(mnt, "docker"), flags...)
	if err := built(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Image(); err != nil { // once, before several apps want it
		t.Fatal(err)
	}
	client, err := docker.New(e.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &host{Engine: e, client: client, mnt: mnt, bin: builtDir()}
}

// app is three volumes, each a subvolume, and four containers: "one" writes the same number to a and then to b, "two" to b
// and then to c, "reader" may not write, and "resting", which may, was paused by somebody else.
type app struct {
	*host
	name   string
	dir    string // of configuration, state and run directory
	config string
	state  string
	run    string

	foreign map[string]subvolume // what is not volsnap's, by path
}

func newApp(t *testing.T, h *host, name string) *app {
	t.Helper()
	dir := t.TempDir()
	a := &app{
		host: h, name: name, dir: dir, config: filepath.Join(dir, "volsnap.yaml"),
		state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run"),
	}
	for _, v := range []string{"a", "b", "c"} {
		command(t, "btrfs", "subvolume", "create", filepath.Join(h.DataRoot, "volumes", a.of(v)))
	}
	a.start(t, "one", "a", "b")
	a.start(t, "two", "b", "c")
	a.Run(t, a.of("reader"), testhost.RunOptions{Flags: []string{"-v", a.of("a") + ":/a:ro"}})
	a.Run(t, a.of("resting"), testhost.RunOptions{Flags: []string{"-v", a.of("c") + ":/c"}})
	a.Docker(t, "pause", a.of("resting"))
	a.configure(t, quickFreeze)
	return a
}

func (a *app) of(part string) string { return a.name + "-" + part }

// start runs a writer from one volume to another.
func (a *app) start(t *testing.T, name, from, to string) {
	t.Helper()
	a.Run(t, a.of(name), testhost.RunOptions{
		Flags:   []string{"--stop-signal", "TERM", "-v", a.of(from) + ":/from", "-v", a.of(to) + ":/to", "-v", a.bin + ":/load:ro"},
		Command: []string{"/load/load", "ab", "-while", "/load/on", "-a", "/from/" + name + "-a", "-b", "/to/" + name + "-b", "-rate", "20"},
	})
}

// quickFreeze is the exec step's usual command.
var quickFreeze = []string{"touch", "/" + marker}

// configure writes the configuration. freeze is the exec step's command, for busybox, as YAML.
func (a *app) configure(t *testing.T, freeze []string) {
	t.Helper()
	text := fmt.Sprintf(`version: 1
state_dir: %q
run_dir: %q
apps:
  %s:
    volumes:
      - volume: %s
      - volume: %s
        not_older_than: [%s]
      - volume: %s
        not_older_than: [%s]
    freeze:
      limit: %s
      steps:
        - exec: {container: %s, freeze: [busybox, %s], thaw: [busybox, rm, -f, /%s], timeout: 20s}
        - pause: {}
    keep: {last: 2}
`, a.state, a.run, a.name, a.of("a"), a.of("b"), a.of("a"), a.of("c"), a.of("a"), limit, a.of("one"), strings.Join(freeze, ", "), marker)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// history takes a pinned set and two more, and puts things of others beside them.
func (a *app) history(t *testing.T) {
	t.Helper()
	a.must(t, "snapshot", a.name, "--pin", "before the upgrade")
	a.plant(t)
	a.settle(t)
	a.settle(t)
}

// plant makes what volsnap must leave alone: snapshots of the user in the very directories in which volsnap's lie, one of
// them with a name as volsnap gives it, and a subvolume elsewhere.
func (a *app) plant(t *testing.T) {
	t.Helper()
	store := a.stores(t)[0]
	src := filepath.Join(a.DataRoot, "volumes", a.of("a"))
	for _, path := range []string{
		filepath.Join(store, "before-upgrade"),
		filepath.Join(store, "volsnap-"+a.name+"-20200102T030405.678Z"),
		filepath.Join(a.mnt, ".volsnap", a.of("by-hand")),
		filepath.Join(a.mnt, a.of("other")),
	} {
		command(t, "btrfs", "subvolume", "snapshot", "-r", src, path)
	}
	if err := os.WriteFile(filepath.Join(store, "notes.txt"), []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.foreign = map[string]subvolume{}
	for path, s := range a.subvolumes(t) {
		if strings.Contains(path, a.name) && !strings.Contains(path, "/docker/") && !a.member(t, path) {
			a.foreign[path] = s
		}
	}
	if len(a.foreign) != 4 {
		t.Fatalf("%d things of others, want 4: %v", len(a.foreign), a.foreign)
	}
}

func (a *app) member(t *testing.T, path string) bool {
	for _, s := range a.list(t) {
		for _, m := range s.Members {
			if m.Snapshot == path {
				return true
			}
		}
	}
	return false
}

// stores are the directories of the app's snapshots.
func (a *app) stores(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(a.mnt, ".volsnap", a.name+"-[abc]-*"))
	if err != nil || len(found) != 3 {
		t.Fatalf("directories of snapshots: %v, %v; want 3 %+v", found, err, a.list(t))
	}
	return found
}

// inspect asks Docker about a container.
func (a *app) inspect(t *testing.T, part string) docker.Container {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := a.client.Inspect(ctx, a.of(part))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}
