// Package zfs is the driver of ZFS file systems, and of replicas of them.
//
// # Where the state lies
//
//	pool/ds@volsnap-<set id>     a snapshot
//	  volsnap:record             which set it belongs to, and what each member of that set holds; .2 to .4 if it is long
//	  volsnap:sealed             that the set is finished, its class, and the GUIDs of the members
//	  hold volsnap:<reason>      a pin
//
// One `zfs snapshot -o` makes all snapshots of a pool in one transaction group, with one record for all of them. The
// record names each dataset by its GUID, which a rename does not change. It comes with its snapshot and goes with it, so
// there is neither an intent before nor anything to clean up after a kill.
//
// # What is ours
//
// A snapshot whose name is that of a set, whose record is of that set, and whose dataset the record names. User properties
// are inherited from the dataset, and what is inherited proves nothing: the record has to be the snapshot's own, and a seal
// names the GUID of the snapshot that carries it. A seal that does not is somebody's doing: the snapshot is listed with a
// Fault and never destroyed. So is one that has its seal but no readable record.
//
// After `zfs promote` a snapshot lies under another dataset. A sealed one is known all the same, by its seal.
//
// # Replicas
//
//	PLACE/<key>                       a file system with the replicas of one dataset
//	  volsnap:replica                 the record of what comes into it, or came last
//	PLACE/<key>@volsnap-<set id>      a replica
//	  volsnap:replica                 its record: what its source said of it, with its GUID, and when it arrived
//	  volsnap:replica-sealed          as volsnap:sealed
//	  hold volsnap:<reason>           a pin
//
// PLACE is a file system (Into), and the key is made from the name that the dataset has at its source. The names of the
// properties are others than those above, so that the host's driver and a place never take each other's snapshots for their own.
// A record counts where it was set. One on the file system is inherited by its snapshots, and is of the one whose GUID it names.
//
// Order of a receive: the announcement is checked, the file system claimed (state.Uses), the place listed. The first record of
// the stream is read: it has to be a plain stream of one file system, with the announced GUID and base, so that neither properties
// nor other datasets come with it. Then the record is written to the file system, as an intent; with a full stream `zfs receive`
// sets it on the file system that it makes. The stream's last record is passed on only once the line has said that it is the
// end. The snapshot is there at that instant, and known by the record of its file system; then it gets its own. So a kill leaves a
// whole replica, or none and what `zfs receive -s` keeps. That is listed by Partials if the record is of it, and is removed
// (`zfs receive -A`) if all of the stream comes, if the stream turned out to be bad, or if the pool is full.
//
// What is received lies in a file system that is not mounted, has no mount point, and would be mounted read-only, without devices,
// setuid and execution. Nothing is rolled back: an increment that does not build on the newest snapshot of its file system, which
// must not have changed since, comes into a clone of what it builds on. It is the kernel that takes streams apart, also those of a hostile source.
//
// # Stages and lines
//
//	pool/volsnap-stage-<name>-<hash>  a clone that is to take the place of pool/ds, or what it has replaced
//	  volsnap:side                    whose stage it is
//	  volsnap:place                   while they are swapped: what the place is to be like, see where
//	pool/volsnap-line-<hash>          what was replaced, there for its snapshots alone
//
// A dataset of which an earlier state was restored has several histories. The one of what is there now lies in it, by `zfs promote`; each of
// the others in a line beside it. All are the dataset's own (driver.Snapshot.Dataset), wherever they lie (Name), and tell what they came
// out of (Lines). A snapshot that lines come out of is destroyed with -d: it counts as gone, and ZFS frees it with the last of them.
// In a place a further file system is for a further history, and is a clone of the replica on which it builds. docs/adr/0020-zfs-restore.md
// has the reasons.
//
// # How ZFS is spoken to
//
// By its commands: the kernel's interface is private to libzfs. All go through run.go, but for the facts of a single
// dataset (facts.go). A pool that is suspended lets its commands hang: they end with the context, and the state of a pool
// is read from /proc/spl/kstat, which does not hang, before anything is asked of it.
package zfs

import (
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// Kind is the kind of this driver's datasets.
const Kind = "zfs"

// Driver finds, makes and removes snapshots of the ZFS file systems of this host. It holds nothing between calls: all
// state is in the pools.
type Driver struct{ kept }

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Sender   = (*Driver)(nil)
	_ driver.Receiver = (*Replicas)(nil)
	_ driver.Sender   = (*Replicas)(nil)

	_ driver.Stager      = (*Driver)(nil)
	_ driver.SwapChecker = (*Driver)(nil)
	_ driver.Fetcher     = (*Driver)(nil)
)

// New is a driver for all pools that are imported on this host.
func New() *Driver { return &Driver{keptBy(made{})} }

// keptBy is what the snapshots of a realm are kept with.
func keptBy(r realm) kept {
	// A pool that has thousands of snapshots to destroy at once holds up whoever writes to it (znapzend#618).
	pace := driver.Pace{Batch: 50, Rest: 50 * time.Millisecond}
	return kept{host: thisHost, pace: pace, uses: state.HostUses(), realm: r}
}

// Kind implements driver.Driver.
func (d *Driver) Kind() string { return Kind }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{AtomicGroup: true, Clone: true}
}
