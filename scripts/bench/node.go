package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	diskSize    = 32 << 30 // sparse
	freezeLimit = 10 * time.Second
)

// closers are undone last first.
type closers []func() error

func (c *closers) add(fn func() error) { *c = append(*c, fn) }

func (c *closers) close() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

// node is the synthetic Core Channel Node with two more writers: six containers that can write to three volumes, and a
// meter in each.
type node struct {
	closers
	ccn      *fixture.CCN
	engine   *testhost.Engine
	pool     *testhost.Pool
	scratch  string
	config   string
	writers  []docker.Container
	volumes  []string // where the volumes' datasets are seen
	datasets []string // their names
	services []string // names of meters
}

func (b *bench) node(ctx context.Context) (n *node, err error) {
	n = &node{services: []string{"pyaleph", "pyaleph-api", "ipfs", "worker-1", "worker-2", "postgres"}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	pool, remove, err := testhost.NewPool(b.kind, diskSize)
	if err != nil {
		return n, err
	}
	n.pool = pool
	n.add(remove)
	if n.scratch, err = os.MkdirTemp("", "vsb"); err != nil {
		return n, err
	}
	n.add(func() error { return os.RemoveAll(n.scratch) })
	if n.engine, err = testhost.NewEngine(pool.DockerRoot()); err != nil {
		return n, err
	}
	n.add(n.engine.Close)
	if n.ccn, err = fixture.Up(ctx, fixture.Options{Engine: n.engine, Storage: fixture.StorageOn(pool), Dir: pool.Top, Scratch: n.scratch}); err != nil {
		return n, err
	}
	n.add(func() error { return n.ccn.Down(ctx) })
	for _, v := range []string{fixture.Postgres, fixture.Files, fixture.IPFS} {
		at := n.ccn.Dataset(v)
		n.volumes, n.datasets = append(n.volumes, at), append(n.datasets, b.on.dataset(pool, at))
	}
	for i, volume := range []string{fixture.Files, fixture.IPFS} {
		if err := n.worker(fmt.Sprintf("worker-%d", i+1), volume); err != nil {
			return n, err
		}
	}
	err = errors.Join(n.configure(), n.findWriters(ctx))
	return n, err
}

// worker starts one more container that writes to a volume.
func (n *node) worker(name, volume string) error {
	const script = `/fixture/load meter -nap $1 -to /fixture/meter/$0 & exec /fixture/load pin -while /fixture/on -rate $2 -dir /data/$0`
	slow := testhost.Slow()
	nap, rate := (time.Millisecond * slow).String(), fmt.Sprint(10/float64(slow))
	_, err := n.engine.StartContainer("pyaleph-"+name, testhost.RunOptions{
		Flags:   []string{"-v", volume + ":/data", "-v", filepath.Join(n.scratch, "fixture") + ":/fixture"},
		Command: []string{"/bin/sh", "-c", script, name, nap, rate},
	})
	n.add(func() error { _, err := n.engine.CLI("rm", "-f", "pyaleph-"+name); return err })
	return err
}

// configure writes volsnap's configuration: the three volumes alone.
func (n *node) configure() error {
	n.config = filepath.Join(n.scratch, "bench.yaml")
	return os.WriteFile(n.config, fmt.Appendf(nil, `version: 1
state_dir: %q
run_dir: %q
apps:
  %s:
    project: %s
    volumes:
      - volume: %s
      - {volume: %s, not_older_than: [%s]}
      - {volume: %s, not_older_than: [%s]}
    freeze:
      limit: %s
      steps:
        - postgres: {container: pyaleph-postgres-1, user: aleph, database: aleph}
        - pause: {}
`, n.ccn.StateDir(), runDir(n.scratch), fixture.App, fixture.Project, fixture.Postgres,
		fixture.Files, fixture.Postgres, fixture.IPFS, fixture.Postgres, freezeLimit*testhost.Slow()), 0o600)
}

// runDir is in memory, as /run is, where the host has such a place.
func runDir(scratch string) string {
	if dir := filepath.Join("/dev/shm", filepath.Base(scratch)); os.MkdirAll(dir, 0o700) == nil {
		return dir
	}
	return filepath.Join(scratch, "run")
}

func (n *node) findWriters(ctx context.Context) error {
	n.add(func() error { return os.RemoveAll(filepath.Join("/dev/shm", filepath.Base(n.scratch))) })
	client, err := docker.New(n.engine.Host)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	for _, name := range n.services {
		container := "pyaleph-" + name
		if !strings.HasPrefix(name, "worker") {
			container += "-1"
		}
		c, err := client.Inspect(ctx, container)
		if err != nil {
			return err
		}
		n.writers = append(n.writers, c)
	}
	return nil
}

// volsnap runs the program and reads what it printed as JSON.
func (n *node) volsnap(ctx context.Context, b *bench, into any, args ...string) error {
	argv := append([]string{b.bin, "--config", n.config, "--log-level", "warn"}, args...)
	out, err := command.Run(ctx, command.Cmd{Argv: argv, Env: n.ccn.Env()})
	if err != nil {
		return err
	}
	return json.Unmarshal(out.Stdout, into)
}

// unpause lets go what a way that did not succeed has left paused.
func (n *node) unpause() error {
	out, err := n.engine.CLI("ps", "-q", "--filter", "status=paused")
	if err != nil || out == "" {
		return err
	}
	_, err = n.engine.CLI(append([]string{"unpause"}, strings.Fields(out)...)...)
	return err
}

// gaps are for each meter the times in which its container did not run.
func (n *node) gaps() (map[string][]fixture.Gap, error) {
	all := map[string][]fixture.Gap{}
	for _, service := range n.services {
		f, err := os.Open(filepath.Join(n.scratch, "fixture", "meter", service))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var begin int64
			var ms float64
			if _, err := fmt.Sscanf(lines.Text(), "gap %d %f", &begin, &ms); err == nil {
				gap := fixture.Gap{Service: service, Begin: time.Unix(0, begin), Length: time.Duration(ms * float64(time.Millisecond))}
				all[service] = append(all[service], gap)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return all, nil
}
