// Package lvm is the driver of LVM thin volumes.
//
// # Where snapshots lie
//
// Beside their origin, in the same thin pool: a volume group has one flat name space, so the name of a snapshot is
//
//	volsnap-<set id>.<first group of the origin's UUID>        volsnap-ccn-20261121T020000.123Z.K2uY6m
//
// which is another one for each origin, and the same as long as the origin lives, whatever it is called. Snapshots are
// read-only (lvcreate --permission r) and are not activated with their volume group (--setactivationskip y).
//
// # What is ours
//
// A snapshot carries its record in tags and is born with them, in the transaction of the volume group's metadata that
// makes it, so that a crash leaves either nothing or a snapshot that says whose it is. It is ours if its name parses, its
// record decodes and agrees with the name, and the origin that LVM knows, if it still knows one, has the UUID that the
// record names. Names of origins may change. A seal names the snapshot's own UUID: copied tags seal nothing.
//
// # What a crash leaves
//
// lvcreate writes the snapshot into the metadata of the group together with the message to the thin pool that will make
// it, then suspends the origin, sends the message, resumes, and writes the metadata again without the message. One that
// dies before the message leaves a snapshot that is listed, unsealed, and whose device the next command on the pool makes;
// one that dies after it leaves a snapshot that is listed, unsealed and whole. Both are left over, and are destroyed as
// such. The message is two, and one that dies between them leaves a pool that LVM cannot change any more: see settle. One
// that is killed between suspend and resume leaves the origin suspended: Take resumes it and, if volsnap was
// killed as well, whoever calls Release. LVM blocks all signals there but SIGKILL, and no
// command of this package that changes something is ended by a context.
//
// # What the instants are
//
// The device mapper freezes the file system of an origin while it is suspended (freeze_super: dirty pages and metadata are
// written), so that all is in the snapshot without a journal. That of ext4 is empty then; XFS leaves its log to be replayed all
// the same, for counters of free blocks and for files that were deleted while open. Each volume is suspended by itself: a
// group has no common instant.
//
// # Replicas
//
// A place is those volumes of a thin pool that carry the name of one owner (Into). A replica is a thin volume of its own,
//
//	volsnap-<set id>.<key>        volsnap-ccn-20261121T020000.123Z.5f0c2a9b11e48d37
//
// read-only and not activated with its group, where the key is a hash of owner, pool and what the dataset is called at the source.
// Its record is in tags with names of their own, so that it is no snapshot to the Driver, and it names the volume's own UUID: a
// copy of a replica is none. The GUID is the UUID of the snapshot at the source.
//
// LVM has no streams: package stream is volsnap's own. What is in them is what thin_delta(8) finds in a metadata snapshot of the
// pool, compared once more by reading. While there is one, the pool carries a tag, by which one that a killed process left is
// known as ours and released by the next; another program's is ErrBusy.
//
// A stream is written to a volume called "volsnap-receiving.<key>": an empty one, or a snapshot of the base. It is made read-only when
// all is on disk, and becomes the replica by its name, in one transaction. What a killed process leaves has no replica's name, and
// the next Receive removes it, or goes on with it from where its tags say that it was on disk. A volume is never made smaller
// than that of its base, so a replica may be larger than its source; what is behind the source's end reads as zeros.
//
// What arrives has to leave the pool below the limits of a set, and is looked at after each 32 MiB. Several streams at a time may
// overstep them by so much each.
//
// # Stages
//
// A stage is a writable thin snapshot of a snapshot or replica, called "volsnap-stage-<name>.<first group of the GUID>", with a tag that says
// so, and not activated with its group. To swap it for a volume, both are deactivated and change names, by way of "volsnap-swap-…": three
// commands of LVM. Before the first, tags on both say what is being done, and where the volume was mounted, so that the next
// Swap goes on from wherever it broke, in either direction; and one on what takes the place names what it replaced, by UUID, as long as there
// are snapshots of that: they are listed as of the volume that is there now. See docs/adr/0021-lvm-restore.md.
//
// # What it needs
//
// lvm2 2.03 and root, and to send thin_delta. Programs are started in run.go, status.go and metadata.go alone. A host without an
// active logical volume costs no process.
package lvm

import (
	"time"

	"github.com/volsnap/volsnap/driver"
)

// Kind is the kind of this driver's datasets.
const Kind = "lvm"

// Driver finds, makes and removes snapshots of the thin volumes of this host. It holds nothing between calls.
type Driver struct{ kept }

var (
	_ driver.Driver  = (*Driver)(nil)
	_ driver.Sender  = (*Driver)(nil)
	_ driver.Stager  = (*Driver)(nil)
	_ driver.Fetcher = (*Driver)(nil)
)

// New is a driver for all volume groups that this host sees.
func New() *Driver {
	return &Driver{kept{pace: pace()}}
}

// pace: a thin pool deletes a volume in a transaction of its own, and whoever wants to write new blocks waits for it.
func pace() driver.Pace { return driver.Pace{Batch: 20, Rest: 50 * time.Millisecond} }

// Kind implements driver.Driver.
func (d *Driver) Kind() string { return Kind }

// Capabilities implements driver.Driver. Each volume is snapshotted at an instant of its own.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Clone: true} }
