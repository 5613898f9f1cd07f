package killtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	marker  = "tmp/marker"           // is there, in the first writer, while its exec step holds
	longAgo = "20200102T030405.678Z" // of a set that was never taken

	poolSize = 2 << 30 // of a sparse file; little of it is used
)

// limit is freeze.limit of the app, bound is I1's for its containers.
//
// On a slow machine the limit is larger in proportion, for a freeze to be done within it. The second that I1 grants after it
// is not: the kernel is asked directly when Docker is slow, and that takes no time anywhere.
var (
	limit = 2 * time.Second * testhost.Slow()
	bound = limit + time.Second
)

// boundOf is how long something of the app may be held. The marker is removed by a command that Docker starts in the
// container, which nobody can do in its stead: the second for it grows with the time that a machine needs to start a process.
func boundOf(name string) time.Duration {
	if name == "marker" {
		return limit + time.Second*testhost.Slow()
	}
	return bound
}

// host is a pool of the storage under test, and a Docker engine whose volumes lie on it.
type host struct {
	*testhost.Engine
	client  *docker.Client
	storage storage
	bin     string // directory of the programs
}

func newHost(t *testing.T, flags ...string) *host {
	t.Helper()
	pool := testhost.StartStorage(t, poolSize)
	if err := built(); err != nil {
		t.Fatal(err)
	}
	return hostOn(t, pool, builtDir(), flags...)
}

// hostOn is newHost on a pool that there is, with the programs of a directory.
func hostOn(t *testing.T, pool *testhost.Pool, bin string, flags ...string) *host {
	t.Helper()
	e := testhost.StartEngine(t, pool.DockerRoot(), flags...)
	if _, err := e.Image(); err != nil { // once, before several apps want it
		t.Fatal(err)
	}
	client, err := docker.New(e.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &host{Engine: e, client: client, storage: storageOn(pool), bin: bin}
}

// app is three volumes, each a dataset, and four containers: "one" writes the same number to a and then to b, "two" to b
// and then to c, "reader" may not write, and "resting", which may, was paused by somebody else.
type app struct {
	*host
	name   string
	dir    string // of configuration, state and run directory
	config string
	state  string
	run    string

	foreign map[string]thing // what is not volsnap's, by name
}

func newApp(t *testing.T, h *host, name string) *app {
	t.Helper()
	dir := t.TempDir()
	a := &app{
		host: h, name: name, dir: dir, config: filepath.Join(dir, "volsnap.yaml"),
		state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run"),
	}
	a.build(t)
	return a
}

// build makes the volumes, the containers and the configuration.
func (a *app) build(t *testing.T) {
	t.Helper()
	for _, v := range []string{"a", "b", "c"} {
		if err := a.storage.MakeDataset(t.Context(), a.volume(v)); err != nil {
			t.Fatal(err)
		}
	}
	a.start(t, "one", "a", "b")
	a.start(t, "two", "b", "c")
	a.Run(t, a.of("reader"), testhost.RunOptions{Flags: []string{"-v", a.of("a") + ":/a:ro"}})
	a.Run(t, a.of("resting"), testhost.RunOptions{Flags: []string{"-v", a.of("c") + ":/c"}})
	a.Docker(t, "pause", a.of("resting"))
	a.configure(t, quickFreeze)
}

func (a *app) of(part string) string { return a.name + "-" + part }

// volume is where the dataset of a volume is seen.
func (a *app) volume(v string) string { return filepath.Join(a.DataRoot, "volumes", a.of(v)) }

// start runs a writer from one volume to another.
func (a *app) start(t *testing.T, name, from, to string) {
	t.Helper()
	rate := fmt.Sprint(20 / float64(testhost.Slow()))
	a.Run(t, a.of(name), testhost.RunOptions{
		Flags:   []string{"--stop-signal", "TERM", "-v", a.of(from) + ":/from", "-v", a.of(to) + ":/to", "-v", a.bin + ":/load:ro"},
		Command: []string{"/load/load", "ab", "-while", "/load/on", "-a", "/from/" + name + "-a", "-b", "/to/" + name + "-b", "-rate", rate},
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
        - exec: {container: %s, freeze: [busybox, %s], thaw: [busybox, rm, -f, /%s], timeout: %s}
        - pause: {}
    keep: {last: 2}
`, a.state, a.run, a.name, a.of("a"), a.of("b"), a.of("a"), a.of("c"), a.of("a"), limit, a.of("one"), strings.Join(freeze, ", "), marker, 20*time.Second*testhost.Slow())
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// history takes a pinned set and two more, and puts things of others beside them.
func (a *app) history(t *testing.T) {
	t.Helper()
	a.succeed(t, "snapshot", a.name, "--pin", "before the upgrade")
	a.plant(t)
	a.settle(t)
	a.settle(t)
}

// plant makes what volsnap must leave alone.
func (a *app) plant(t *testing.T) {
	t.Helper()
	names := a.storage.strange(t, a)
	things := a.storage.things(t)
	a.foreign = map[string]thing{}
	for _, name := range names {
		a.foreign[name] = things[name]
		if things[name] == (thing{}) {
			t.Fatalf("%s was not made", name)
		}
	}
}

// inspect asks Docker about a container.
func (a *app) inspect(t *testing.T, part string) docker.Container {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second*testhost.Slow())
	defer cancel()
	c, err := a.client.Inspect(ctx, a.of(part))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
