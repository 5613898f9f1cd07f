// Command demo shows volsnap's main job on real parts, as root, in about two minutes:
//
//	go run ./scripts/demo [--storage btrfs|zfs|lvm] [--sets N] [--quick]
//
// It makes a pool of that storage in a sparse file, starts a Docker engine of its own whose volumes lie on it, and on that a
// small Core Channel Node whose PostgreSQL is under load. Then it does what an operator would do with volsnap, and proves
// that the sets are good. Its exit status is 0 only if every proof held. It leaves nothing behind, also when it is
// interrupted.
//
// Where there is no Go, VOLSNAP_TEST_BINARY and VOLSNAP_TEST_LOAD name the programs that it would compile (see
// testhost.Build). VOLSNAP_TEST_SLOW says how many times slower than a real machine this one is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	diskSize = 16 << 30 // sparse; about 1 GiB of it is used
	policy   = "{last: 3}"
)

// options are the flags.
type options struct {
	storage string // a kind of testhost's
	want    int    // sets
	quick   bool
	out     printer
}

func main() {
	o := options{out: printer{w: os.Stdout}}
	flag.StringVar(&o.storage, "storage", testhost.PartBtrfs, "where the volumes lie: btrfs, zfs or lvm")
	flag.IntVar(&o.want, "sets", 5, "how many sets to take under load (at least 4: the policy keeps 3)")
	flag.BoolVar(&o.quick, "quick", false, "prove one set instead of two, and without pg_amcheck")
	flag.Parse()
	if flag.NArg() > 0 || o.want < 4 || storages[o.storage] == (words{}) {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(o))
}

// run is main with an exit status. Signals are heard until all is cleaned up.
func run(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := demo(ctx, o)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; cleaned up")
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		return 1
	}
	return 0
}

// demo sets the scene, plays, and clears away whatever it has set up.
func demo(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("making a file system and starting a Docker engine needs root")
	}
	if err := testhost.Have(o.storage); err != nil {
		return fmt.Errorf("%s cannot be had on this machine: %w\n`make demo STORAGE=%s` runs the demonstration in a virtual machine that has it",
			storages[o.storage].name, err, o.storage)
	}
	o.out.heading("A host: %s, Docker, and a Core Channel Node in a Compose project", storages[o.storage].name)
	pool, remove, err := testhost.NewPool(o.storage, diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	scratch := filepath.Join(pool.Dir, "tmp")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	engine, err := testhost.NewEngine(pool.DockerRoot())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	node, err := fixture.Up(ctx, fixture.Options{
		Engine: engine, Storage: fixture.StorageOn(pool), Dir: pool.Top, Scratch: scratch, Keep: policy,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Down(ctx)) }()
	volsnap, err := program(ctx, node, scratch)
	if err != nil {
		return err
	}
	o.out.short = shortNames(pool, scratch)
	p := &play{options: o, node: node, volsnap: volsnap, pool: pool, bin: filepath.Join(scratch, "volsnap")}
	defer func() { err = errors.Join(err, p.closed()) }()
	return p.run(ctx)
}

func program(ctx context.Context, node *fixture.CCN, dir string) (*fixture.Volsnap, error) {
	bin := filepath.Join(dir, "volsnap")
	if err := testhost.Build(ctx, bin, testhost.ProgramVolsnap); err != nil {
		return nil, err
	}
	return node.Volsnap(bin)
}

// shortNames are for what is longer than it matters.
func shortNames(pool *testhost.Pool, scratch string) *strings.Replacer {
	names := []string{pool.Top, "$MNT", scratch, "$TMP"}
	if pool.Name != "" {
		names = append(names, pool.Name, "$POOL")
	}
	return strings.NewReplacer(names...)
}
