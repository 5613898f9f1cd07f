// Command bench measures volsnap beside what else would do the same, as root:
//
//	go run ./scripts/bench [--runs N] [pause|many|delete|fifty|noop ...]
//
// It prints tables in Markdown, of which docs/benchmarks.md is made by hand. Without a part it runs all of them, which
// takes about half an hour. Each part makes a Btrfs on a loop device, and a Docker engine of its own where it needs one,
// and leaves nothing behind. What is compared is measured in turn, in one run, so that a busy machine is busy for all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/volsnap/volsnap/internal/fixture"
)

// bench is what every part works with.
type bench struct {
	runs int    // 0: the part's own number
	bin  string // of volsnap
	out  printer
}

// parts in the order in which they run.
var parts = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"pause", (*bench).pause},
	{"fifty", (*bench).fifty},
	{"noop", (*bench).noop},
	{"delete", (*bench).delete},
	{"many", (*bench).many},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorCommand {
		os.Exit(status(floorMain(os.Args[2:])))
	}
	os.Exit(status(run()))
}

func status(err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; cleaned up")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// usageError is a wrong command line.
type usageError struct{ error }

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	b := &bench{out: printer{out: os.Stdout, log: os.Stderr}}
	flag.IntVar(&b.runs, "runs", 0, "how often to measure each thing; 0: as often as docs/benchmarks.md says")
	flag.Parse()
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(parts, func(p struct {
			name string
			run  func(*bench, context.Context) error
		},
		) bool {
			return p.name == name
		}) {
			return usageError{fmt.Errorf("there is no part %q", name)}
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("mounting a Btrfs and starting a Docker engine needs root")
	}
	dir, err := os.MkdirTemp("", "vsbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.bin = filepath.Join(dir, "volsnap")
	if err := fixture.Build(ctx, b.bin, "github.com/volsnap/volsnap/cmd/volsnap"); err != nil {
		return err
	}
	b.out.host(ctx, strings.Join(os.Args[1:], " "))
	for _, p := range parts {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), p.name) {
			continue
		}
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// times is how often to measure, usually n.
func (b *bench) times(n int) int {
	if b.runs > 0 {
		return b.runs
	}
	return n
}
