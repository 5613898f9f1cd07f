package driver

import (
	"context"
	"fmt"
	"regexp"
)

// Stage is a writable dataset out of everybody's sight: a clone that is to take the place of a dataset, or the one whose place
// another has taken.
type Stage struct {
	Dataset Dataset
	GUID    string // of this dataset, and never of another one
}

// Stager clones snapshots, and puts a clone in the place of a dataset. Whoever calls it keeps a record of what he is about to
// make and swap, so that what a killed process leaves can be found by name, and be told from anything else by its GUID.
type Stager interface {
	// StageOf is where the stage of that name, made of s, lies; there need be none. ErrBadStage: no name that CheckStage
	// accepts.
	StageOf(s Snapshot, name string) (Dataset, error)
	// Stage makes a writable clone of s without copying, at StageOf. No app's volume lies there, and nobody lists it. ErrExists:
	// something is there, and stays.
	Stage(ctx context.Context, s Snapshot, name string) (Stage, error)
	// Identity is the GUID of the dataset that is at a place now. ErrNotFound: there is none.
	Identity(ctx context.Context, ds Dataset) (string, error)
	// Attach makes the files of a stage reachable for reading and writing, without devices and setuid where the storage can, and
	// returns where: at dir, an empty directory, or where the storage shows them anyway.
	Attach(ctx context.Context, st Stage, dir string) (path string, err error)
	// Detach undoes Attach. That nothing is attached is no error. ErrBusy: a process is in it.
	Detach(ctx context.Context, st Stage, dir string) error
	// Swap lets ds be the dataset whose GUID is given, and the stage the other one, durably; whatever mounted ds shows the new
	// one afterwards. That it is so already is no error, and what an interrupted Swap left is brought to an end. ErrBusy: a
	// container or process uses one of them. ErrForeign: neither has the GUID. ErrNotSupported: the storage cannot
	// swap this one. On error either ds is the one or the other, unless the storage needs several steps and broke between them:
	// then the next Swap, in whatever direction, goes on.
	Swap(ctx context.Context, ds, stage Dataset, guid string) error
	// Settle makes a stage a dataset like any other: called name, beside the one that it was cloned from, with its files at the absolute
	// path at, where there is nothing yet, and after a boot as far as the storage sees to that. ErrExists: the name or the path is
	// taken. ErrNotSupported: its files cannot be there. On error it is a stage still.
	Settle(ctx context.Context, st Stage, name, at string) (Dataset, error)
	// Discard destroys a stage; that it is gone is no error. ErrForeign: another dataset is there. ErrBusy: it is in use. With
	// since, a snapshot of the dataset, it stays if it was written to after that was taken: ErrChanged. On a storage where snapshots
	// lie in their dataset, what is left of one that has some is no stage any more, and goes with the last of them.
	Discard(ctx context.Context, st Stage, since *Snapshot) error
}

// Fetcher is a storage of this host to which replicas can come back.
type Fetcher interface {
	// FetchInto is a place in the pool of a dataset, for replicas that are fetched to be staged there, and then are of no more use: it is
	// made if there is none, is root's alone, and no target. Its stages can take the place of the dataset. It is a Receiver whose Stage,
	// StageOf and Mount are as a Stager's.
	FetchInto(ctx context.Context, ds Dataset) (Receiver, error)
}

// Adopter is a storage of this host that can take replicas for its own.
type Adopter interface {
	// Adopt makes a snapshot of ds from a replica that lies in the place of FetchInto: unsealed, with the replica's GUID, and otherwise as if
	// it had been taken here. So a host that lost its sets has one in common with its targets again. ErrExists: ds has a snapshot of that set.
	Adopt(ctx context.Context, replica Snapshot, ds Dataset) (Snapshot, error)
}

// SwapChecker is a Stager that cannot swap every dataset.
type SwapChecker interface {
	// CheckSwap is ErrNotSupported, with the reason, for a dataset that cannot be swapped. It changes nothing.
	CheckSwap(ctx context.Context, ds Dataset) error
}

// CheckStage accepts what may be the name of a stage: 1 to 60 of a-z, A-Z, 0-9, "." and "-", with a letter or digit first.
func CheckStage(name string) error {
	if !stagePattern.MatchString(name) {
		return fmt.Errorf("%q: %w", name, ErrBadStage)
	}
	return nil
}

var stagePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,59}$`)
