package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

// storage is what the parts have to know of the one they run on. Whatever it does to snapshots of its own making, it does
// by the storage's own means, and shares no code with volsnap's driver.
type storage interface {
	facts() facts
	driver() driver.Driver
	// maker makes the datasets of a store; there may be 100 of them in a pool.
	maker(p *testhost.Pool) fixture.Storage
	// dataset is the name of what maker made at path, as volsnap has it.
	dataset(p *testhost.Pool, path string) string
	// flush writes what is dirty in the datasets that are seen at paths.
	flush(ctx context.Context, p *testhost.Pool, paths []string) error
	// bare makes ready, and returns what takes a snapshot of each dataset and does nothing else. "to" is an existing directory
	// below the pool's top, or on a file system of datasets: another one each time, of which names are made.
	bare(datasets []string, to string) (take func(context.Context) error, err error)
	// discard removes what bare or the script made, where so many snapshots would make the next ones slower.
	discard(ctx context.Context, datasets []string, to string) error
	// settle does what has to be done with a Take that was measured: the snapshots are sealed, or removed where discard does.
	settle(ctx context.Context, snaps []driver.Snapshot) error
	// lists are the storage's own listings of all snapshots in the pool.
	lists(p *testhost.Pool) []program
	// rival makes as many snapshots as the store has of another tool's beside them, and returns what of that tool lists and
	// plans. Without such a tool there are none.
	rival(ctx context.Context, s *store, sets int) (name string, programs []program, err error)
}

// facts are what differs and is no doing.
type facts struct {
	class string // of a set of several paused volumes
	alone string // what bare is, in words
	// script is the function "snapshot" of bash: of all $SOURCES, into $TO or with $TAG in their names.
	script string

	fiftyRuns   int
	fiftyCounts []int  // of volumes; the first is what the others are compared with
	fiftyDirty  []bool // also with dirty data?
	snapshots   int    // of the part "many"
	volumes     []int  // of each set there
}

// storages by their names for testhost.
var storages = map[string]storage{testhost.PartBtrfs: onBtrfs{}, testhost.PartZFS: onZFS{}, testhost.PartLVM: onLVM{}}

// program is one whose time is to be known.
type program struct {
	name  string
	argv  []string
	env   []string
	ready func(context.Context) error // before each time, if there is something to be done
	most  int                         // so often at most; 0: as often as the others
}

// tag is what the names of snapshots that belong to a directory have in common, where they do not lie in it.
func tag(to string) string {
	const last = 3 // elements, by which the parts' directories differ
	parts := strings.Split(filepath.Clean(to), "/")
	return strings.Join(parts[max(0, len(parts)-last):], "-")
}

func runOnly(ctx context.Context, argv ...string) error {
	_, err := command.Run(ctx, command.Cmd{Argv: argv})
	return err
}
