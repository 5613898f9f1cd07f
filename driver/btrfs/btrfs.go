// Package btrfs is the driver of Btrfs subvolumes, and of replicas of them.
//
// # Where snapshots lie
//
//	<top of a mount>/.volsnap/<key>/volsnap-<set id>               a read-only snapshot
//	<top of a mount>/.volsnap/<key>/volsnap-<set id>.json          its record, as it was intended
//	<top of a mount>/.volsnap/<key>/volsnap-<set id>.sealed.json   its record, once it is sealed
//
// .volsnap is at the top of the nearest mount above the dataset that mount(8) could make from the disk alone, so that the
// one is never there without the other, and never inside a volume. It belongs to root; a .volsnap that others can write
// to is not believed. The key is readable ("pg-1a2b3c4d") and made from the subvolume's path inside the file system, which
// is the same on whatever host and wherever the file system is mounted.
//
// # What is ours
//
// A record is written, as an intent, before its snapshot is made, and removed after it is gone. A snapshot without a
// record is not ours. One with a record is ours if it has the UUID that was sealed or, before that, was made from the
// recorded source. Whatever contradicts its record is listed with a Fault and never destroyed.
//
// To unseal is to unlink the sealed record, and nothing else: on a full file system, where room is needed most, Btrfs
// still unlinks and destroys, but writes nothing.
//
// # Replicas
//
//	DIR/<key>/volsnap-<set id>                    a replica, with its records beside it as above
//	DIR/<key>/receiving-volsnap-<set id>          a subvolume that is being received: nobody lists it
//	DIR/<key>/receiving-volsnap-<set id>.spool    what has come of its stream, if the place keeps that
//
// DIR is the place (Into), a directory of root's alone, and the key is made from the name that the dataset has at its source.
// A record of a replica says so: the host's driver believes none, and a place believes no other.
//
// Streams are made by "btrfs send", and done by this package itself, not by "btrfs receive": that one, run as root,
// follows symbolic links that the stream made, writes to devices that it made, and finds parents and clone sources by UUID
// anywhere on the file system, so that it can neither be trusted with a hostile stream nor be put in a jail in which increments
// still work. Here internal/stream reads the stream and lets nothing malformed through, and builder does what it says with every
// path looked up by the kernel beneath the new subvolume, no symbolic link followed and only regular files opened. So whatever
// a stream says, it changes nothing but its own new subvolume, reads nothing but that and the announced base, and nothing is
// mounted or executed. It can fill the file system: ErrNoSpace ends it and removes what came.
//
// Order of a receive: the dataset's directory is locked; the record is written; the subvolume is made under its other name, from
// the base if there is one; it is filled, synced, given its received UUID, made read-only, committed and looked at; then it is
// renamed. A kill before that leaves something invisible, which the next Receive removes.
//
// # What the kernel must have
//
// Snapshots are made and destroyed by ioctl on open directories, and destroyed by number after their UUID was checked, so
// that no name can be swapped meanwhile (BTRFS_IOC_SNAP_DESTROY_V2 and statx with mount ids: Linux 5.8; mount_setattr:
// Linux 5.12; openat2, for receiving: Linux 5.6; compressed streams: Linux 6.0). All of it needs CAP_SYS_ADMIN.
package btrfs

import (
	"time"

	"github.com/volsnap/volsnap/driver"
)

// Kind is the kind of this driver's datasets.
const Kind = "btrfs"

// Driver finds, makes and removes snapshots of the Btrfs subvolumes of this host. It holds nothing between calls: all
// state is on the file systems.
type Driver struct{ kept }

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Stager   = (*Driver)(nil)
	_ driver.Fetcher  = (*Driver)(nil)
	_ driver.Adopter  = (*Driver)(nil)
	_ driver.Sender   = (*Driver)(nil)
	_ driver.Receiver = (*Replicas)(nil)
	_ driver.Stager   = (*Replicas)(nil)
	_ driver.Sender   = (*Replicas)(nil)
)

// New is a driver for all Btrfs file systems that are mounted on this host.
func New() *Driver { return &Driver{kept{pace: pace()}} }

// pace of destroying: the kernel frees destroyed subvolumes in the background, and whoever syncs a file meanwhile waits for it.
func pace() driver.Pace { return driver.Pace{Batch: 50, Rest: 50 * time.Millisecond} }

// Kind implements driver.Driver.
func (d *Driver) Kind() string { return Kind }

// Capabilities implements driver.Driver. Each subvolume is snapshotted at an instant of its own.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Clone: true} }
