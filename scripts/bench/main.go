// Command bench measures volsnap beside what else would do the same, as root:
//
//	go run ./scripts/bench [--storage btrfs|zfs|lvm] [--runs N] [pause|many|delete|fifty|noop|uptodate|stream|restore ...]
//
// It prints tables in Markdown, of which docs/benchmarks.md is made by hand. Without a part it runs all that the storage has,
// which takes about an hour on Btrfs. Each part makes a pool in a sparse file, and a Docker engine of its own where it
// needs one, and leaves nothing behind. What is compared is measured in turn, in one run, so that a busy machine is busy for
// all.
//
// "uptodate" and "stream" replicate, on Btrfs and ZFS, to an sshd of their own on loopback, beside btrbk or syncoid: the first with
// nothing to send (--volumes says of how many datasets), the second a large volume (--mebibytes says how large) to fresh pools, also
// beside the raw pipe, until all is on disk. The peak of memory is that of the largest process of a side, by the rusage of what
// was started here and of the sshd, which has waited for all of its own. Processes are counted by strace(1), in a run of their
// own that is not timed; where there is no strace they are not.
//
// "restore" restores a node with little and with much data in place, drills the same set, and copies the volumes by cp(1). The node is
// idle, and its data is in the page cache, which is to the copies' advantage.
//
// Where there is no Go, VOLSNAP_TEST_BINARY and VOLSNAP_TEST_LOAD name the programs that it would compile (see
// testhost.Build). On a machine that VOLSNAP_TEST_SLOW calls slow it measures less often.
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

	"github.com/volsnap/volsnap/internal/testhost"
)

// bench is what every part works with.
type bench struct {
	kind      string // of storage, as testhost has it
	on        storage
	runs      int    // 0: the part's own number
	snapshots int    // of the part "many"; 0: the storage's own number
	volumes   int    // of each set there, and of "uptodate"; 0: the storage's own
	mebibytes int    // of the part "stream"; 0: the machine's own number
	bin       string // of volsnap
	out       printer
}

// part is something that is measured.
type part struct {
	name string
	run  func(*bench, context.Context) error
	only []string // the storages that have it, if not all have
}

// of tells whether a storage has it.
func (p part) of(kind string) bool { return len(p.only) == 0 || slices.Contains(p.only, kind) }

// parts in the order in which they run.
var parts = []part{
	{name: "pause", run: (*bench).pause},
	{name: "fifty", run: (*bench).fifty},
	{name: "noop", run: (*bench).noop},
	{name: "delete", run: (*bench).delete, only: []string{testhost.PartBtrfs}},
	{name: "many", run: (*bench).many},
	{name: "uptodate", run: (*bench).uptodate, only: replicated},
	{name: "stream", run: (*bench).stream, only: replicated},
	{name: "restore", run: (*bench).restore},
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
	flag.StringVar(&b.kind, "storage", testhost.PartBtrfs, "what to measure on: btrfs, zfs or lvm")
	flag.IntVar(&b.runs, "runs", 0, "how often to measure each thing; 0: as often as docs/benchmarks.md says")
	flag.IntVar(&b.snapshots, "snapshots", 0, "how many snapshots \"many\" makes; 0: as docs/benchmarks.md says")
	flag.IntVar(&b.volumes, "volumes", 0, "how many volumes each set of \"many\" and \"uptodate\" has; 0: as docs/benchmarks.md says")
	flag.IntVar(&b.mebibytes, "mebibytes", 0, "how much that cannot be compressed \"stream\" sends, and a quarter more that can; 0: 1024, on a slow machine 256")
	flag.Parse()
	if b.on = storages[b.kind]; b.on == nil {
		return usageError{fmt.Errorf("there is no storage %q", b.kind)}
	}
	wanted, err := b.wanted(flag.Args())
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("making a file system and starting a Docker engine needs root")
	}
	if err := testhost.Have(b.kind); err != nil {
		return fmt.Errorf("%w\n`make bench STORAGE=%s` measures in a virtual machine that has it", err, b.kind)
	}
	dir, err := os.MkdirTemp("", "vsbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.bin = filepath.Join(dir, "volsnap")
	if err := testhost.Build(ctx, b.bin, testhost.ProgramVolsnap); err != nil {
		return err
	}
	b.out.host(ctx, strings.Join(os.Args[1:], " "))
	for _, p := range wanted {
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// wanted are the parts of these names, or all that the storage has.
func (b *bench) wanted(names []string) (out []part, err error) {
	for _, name := range names {
		at := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if at < 0 {
			return nil, usageError{fmt.Errorf("there is no part %q", name)}
		}
		if p := parts[at]; !p.of(b.kind) {
			return nil, usageError{fmt.Errorf("%s is for %s alone", name, strings.Join(p.only, " and "))}
		}
	}
	for _, p := range parts {
		if p.of(b.kind) && (len(names) == 0 || slices.Contains(names, p.name)) {
			out = append(out, p)
		}
	}
	return out, nil
}

// times is how often to measure, usually n, and less often where all takes longer.
func (b *bench) times(n int) int {
	switch {
	case b.runs > 0:
		return b.runs
	case testhost.Slow() > 1:
		return max(3, n/6)
	}
	return n
}
