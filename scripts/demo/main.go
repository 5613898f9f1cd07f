// Command demo shows volsnap's main job on real parts, as root, in about two minutes:
//
//	go run ./scripts/demo [--sets N] [--quick]
//
// It makes a Btrfs on a loop device, starts a Docker engine of its own on it, and on that a small Core Channel Node whose
// PostgreSQL is under load. Then it does what an operator would do with volsnap, and proves that the sets are good. Its
// exit status is 0 only if every proof held. It leaves nothing behind, also when it is interrupted.
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
	want  int // sets
	quick bool
	out   printer
}

func main() {
	o := options{out: printer{w: os.Stdout}}
	flag.IntVar(&o.want, "sets", 5, "how many sets to take under load (at least 4: the policy keeps 3)")
	flag.BoolVar(&o.quick, "quick", false, "prove one set instead of two, and without pg_amcheck")
	flag.Parse()
	if flag.NArg() > 0 || o.want < 4 {
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
		return errors.New("mounting a Btrfs and starting a Docker engine needs root")
	}
	o.out.heading("A host: Btrfs, Docker, and a Core Channel Node in a Compose project")
	mnt, unmount, err := testhost.NewBtrfs(diskSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	scratch := filepath.Join(filepath.Dir(mnt), "tmp") // goes with the Btrfs, also when that is swept up after a kill
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	engine, err := testhost.NewEngine(filepath.Join(mnt, "docker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	node, err := fixture.Up(ctx, fixture.Options{Engine: engine, Dir: mnt, Scratch: scratch, Keep: policy})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Down(ctx)) }()

	bin, err := filepath.Abs("bin/volsnap")
	if err != nil {
		return err
	}
	if err := fixture.Build(ctx, bin, "github.com/volsnap/volsnap/cmd/volsnap"); err != nil {
		return err
	}
	volsnap, err := node.Volsnap(bin)
	if err != nil {
		return err
	}
	o.out.short = strings.NewReplacer(mnt, "$MNT", scratch, "$TMP")
	return (&play{options: o, node: node, volsnap: volsnap, mnt: mnt}).run(ctx)
}
