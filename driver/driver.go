// Package driver defines what volsnap needs of a storage that can take snapshots, and the words in which the rest of
// volsnap speaks of it.
//
// # Whose snapshots
//
// A driver lists, changes and destroys only snapshots that it can show to be volsnap's: ParseName accepts the name, and
// the storage carries the record that the driver wrote beside it. Whatever else is on the pool belongs to someone else.
//
// # Sealed or left over
//
// A snapshot is born unsealed. Seal marks it as a member of a finished set, Unseal as one that is about to be destroyed.
// A set with an unsealed member is what a killed run left behind, and the next run may remove it.
//
// # Where state lives
//
// Set id, member k of n, consistency, volumes and pins are kept with the snapshots, so that a pool that was moved to
// another host carries all that volsnap needs to find its sets again.
//
// The suite in drivertest is this contract as code; every driver passes it on real storage.
package driver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What callers branch on. Drivers wrap these with the name of the thing and the storage's own words.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrBusy         = errors.New("in use") // mounted, cloned from, or pinned
	ErrNoSpace      = errors.New("no space left")
	ErrForeign      = errors.New("not made by volsnap")
	ErrNotSupported = errors.New("not on a storage that this driver can snapshot")
	ErrChanged      = errors.New("changed meanwhile")
	ErrBadStage     = errors.New("bad name of a stage")
)

// Dataset is what a storage snapshots. Kind is the driver's ("btrfs"); Name is an absolute path as mounted now (Btrfs),
// "pool/dataset" (ZFS) or "vg/lv" (LVM).
type Dataset struct{ Kind, Name string }

func (d Dataset) String() string { return d.Kind + ":" + d.Name }

// Volume is a Docker volume or host path that lies in a dataset.
type Volume struct {
	Name         string   `json:"volume"`                   // the Docker volume's name, or the configured host path
	Path         string   `json:"path"`                     // where it lies inside its dataset, "." for all of it
	NotOlderThan []string `json:"not_older_than,omitempty"` // names of volumes that this one must not be older than
}

// Snapshot is one read-only state of one dataset.
type Snapshot struct {
	Dataset     Dataset
	Name        string    // its place: an absolute path as mounted now (Btrfs), "pool/ds@name" (ZFS), "vg/lv" (LVM)
	Set         SetID     // the set it belongs to
	Member, Of  int       // member k of n, counted from 1
	Volumes     []Volume  // what of the app lies in it
	GUID        string    // equal on every replica of this state
	Order       uint64    // greater for a later snapshot of one dataset; not a clock
	Taken       time.Time // when the storage had made it, by the clock of the host that took it
	Received    time.Time // when a replica had arrived, by the clock of the host that it is on; zero for what was taken here
	Sealed      bool      // see the package comment
	Consistency string    // the set's class, once sealed
	Pins        []string  // reasons that keep it from being destroyed, sorted
	Fault       string    // why it is not what was sealed ("is writable", ...); empty when it is
	Lines       []Line    `json:",omitempty"` // what its state came out of, where the dataset has several histories; see Precedes
}

// Line is one history of a dataset, up to a snapshot. A dataset gets another one when an earlier state of it is restored, on a storage
// where a state cannot but come out of the one before it.
type Line struct {
	ID    string `json:"id"`    // "": that of the dataset as it is now
	Order uint64 `json:"order"` // of the last of its snapshots that counts
}

// Line is the history that the snapshot lies in itself; "" is that of the dataset as it is now.
func (s Snapshot) Line() string {
	if len(s.Lines) == 0 {
		return ""
	}
	return s.Lines[0].ID
}

// Precedes reports whether an increment to another snapshot can build on this one: it is an earlier state of the same dataset, and the
// other one came out of it.
func (s Snapshot) Precedes(other Snapshot) bool {
	if s.Dataset != other.Dataset || s.Order >= other.Order {
		return false
	}
	for _, line := range other.Lines {
		if line.ID == s.Line() {
			return s.Order <= line.Order
		}
	}
	return len(other.Lines) == 0 && s.Line() == ""
}

// Capabilities are data: they agree with what the driver does, and drivertest checks that.
type Capabilities struct {
	AtomicGroup bool // one Group is one instant, whatever its number of datasets
	Clone       bool // Clone works without copying
}

// Level says what a Finding means for a run.
type Level string

// The levels, from harmless to fatal. A run goes on with notes and warnings, and refuses on an error.
const (
	Note    Level = "note"
	Warning Level = "warning"
	Error   Level = "error"
)

// Finding is something about a place that an operator should know before the first snapshot.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`
	Mend  string `json:"mend,omitempty"` // what to do about it
}

// Place is where a path lies on this storage.
type Place struct {
	Dataset  Dataset
	Path     string // the path inside the dataset, "." for all of it
	Pool     string // what can be snapshotted together: one Group a pool
	Findings []Finding
}

// Space is what a dataset can still grow by.
type Space struct{ FreeBytes, TotalBytes uint64 }

// Item is one dataset of a set to be taken.
type Item struct {
	Dataset Dataset
	Member  int // k of Request.Of, counted from 1
	Volumes []Volume
}

// Request asks for snapshots of datasets of one pool.
type Request struct {
	Set   SetID
	Of    int // how many members the whole set has, in all pools
	Items []Item
}

// Check finds what no driver of that kind accepts: a bad set id, a dataset of another kind (ErrNotSupported) or named twice,
// a member number that is taken or not 1 to Of.
func (r Request) Check(kind string) error {
	if _, err := ParseSetID(string(r.Set)); err != nil {
		return err
	}
	names, members := map[Dataset]bool{}, map[int]bool{}
	for _, it := range r.Items {
		switch {
		case it.Dataset.Kind != kind:
			return fmt.Errorf("%s: %w", it.Dataset, ErrNotSupported)
		case names[it.Dataset]:
			return fmt.Errorf("%s: named twice", it.Dataset)
		case it.Member < 1 || it.Member > r.Of || members[it.Member]:
			return fmt.Errorf("%s: is to be member %d of %d", it.Dataset, it.Member, r.Of)
		}
		names[it.Dataset], members[it.Member] = true, true
	}
	return nil
}

// Group is a prepared group of snapshots of one pool.
type Group interface {
	// Take makes all of the snapshots, unsealed. It runs while writers are frozen and does nothing that Prepare could have
	// done, or Made can do. On error what it made may still be there, unsealed; Snapshots lists it.
	Take(ctx context.Context) error
	// Made looks at what Take made, and returns it in the order of the request's items. ErrNotFound and ErrForeign: one of
	// them is not there, or not what was asked for.
	Made(ctx context.Context) ([]Snapshot, error)
	// Close releases what Prepare holds and removes the records of snapshots that were not made. Closing twice is harmless.
	Close(ctx context.Context) error
}

// Take makes the snapshots of a group and looks at them, for callers that hold nobody up.
func Take(ctx context.Context, g Group) ([]Snapshot, error) {
	if err := g.Take(ctx); err != nil {
		return nil, err
	}
	return g.Made(ctx)
}

// Lister finds snapshots.
type Lister interface {
	// Snapshots returns ours, oldest first within a dataset, sealed or not; without arguments those of every dataset of
	// this kind on the host. With an error comes what was found all the same, if anything: it may be incomplete, and nothing
	// may be destroyed on its strength.
	Snapshots(ctx context.Context, ds ...Dataset) ([]Snapshot, error)
}

// Pruner removes snapshots, and keeps them from being removed.
type Pruner interface {
	Lister
	// Unseal marks snapshots as about to be destroyed, durably, so that what a killed Destroy leaves is known as left over.
	// One that is already gone is no error. ErrBusy (pinned) and ErrForeign: nothing of that one's set was unsealed; the
	// others were.
	Unseal(ctx context.Context, s ...Snapshot) error
	// Destroy removes snapshots with their records, in batches. That one is already gone is no error. ErrBusy and
	// ErrForeign: nothing of that one was removed; the others were. A snapshot is compared by GUID before it is
	// destroyed, and one that carries pins is ErrBusy.
	Destroy(ctx context.Context, s ...Snapshot) error
	// Pin and Unpin add and remove a reason that CheckPin accepts, durably; both are idempotent.
	Pin(ctx context.Context, s Snapshot, reason string) error
	Unpin(ctx context.Context, s Snapshot, reason string) error
}

// Taker makes snapshots.
type Taker interface {
	// Resolve finds the dataset that an existing path lies in. ErrNotSupported: on another kind of storage.
	Resolve(ctx context.Context, path string) (Place, error)
	// Space tells what the dataset's pool has left.
	Space(ctx context.Context, ds Dataset) (Space, error)
	// Prepare does all that can be done before the writers are frozen: names are checked (ErrExists), directories made,
	// records of what is about to be made written durably.
	Prepare(ctx context.Context, req Request) (Group, error)
	// Seal verifies that each snapshot exists, is read-only and has its GUID, then marks it durably as a member of a
	// finished set of that consistency.
	Seal(ctx context.Context, consistency string, s ...Snapshot) error
}

// Releaser is a storage on which the making of a snapshot holds up the dataset's writers, and could be killed just then.
type Releaser interface {
	// Release lets writers go on that were held up by the making of a snapshot of ours whose maker is dead, and names their
	// datasets. Whoever is alive is waited for. Where nothing is held up it does next to nothing.
	Release(ctx context.Context) (released []string, err error)
}

// Unmounter is a storage on which Mount does more than to mount, and that has to be taken back.
type Unmounter interface {
	// Unmounted takes back what a Mount of the snapshot did besides, for a process that has no unmount function of it: what
	// was mounted is unmounted already, or never was. It does nothing while somebody has the snapshot open, and nothing where
	// nothing is left to do.
	Unmounted(ctx context.Context, s Snapshot) error
}

// Driver is one kind of storage on this host. Its methods may be called concurrently.
type Driver interface {
	Pruner
	Taker
	Kind() string
	Capabilities() Capabilities
	// Mount makes the snapshot readable at dir, an empty directory, until unmount is called. While mounted it is ErrBusy
	// to Destroy. It stays when the process ends: umount(8), and Unmounted where the storage is an Unmounter, do what unmount does.
	// A mount of a part of it, made from dir, outlives that at dir and keeps the snapshot ErrBusy.
	Mount(ctx context.Context, s Snapshot, dir string) (unmount func(context.Context) error, err error)
	// Clone makes a writable dataset from the snapshot without copying. ErrExists: "to" is already there, and stays.
	Clone(ctx context.Context, s Snapshot, to Dataset) error
}
