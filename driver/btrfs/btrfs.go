// Package btrfs is the driver of Btrfs subvolumes.
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
// # What the kernel must have
//
// Snapshots are made and destroyed by ioctl on open directories, and destroyed by number after their UUID was checked, so
// that no name can be swapped meanwhile (BTRFS_IOC_SNAP_DESTROY_V2 and statx with mount ids: Linux 5.8; mount_setattr:
// Linux 5.12). All of it needs CAP_SYS_ADMIN.
package btrfs

import (
	"time"

	"github.com/volsnap/volsnap/driver"
)

// Kind is the kind of this driver's datasets.
const Kind = "btrfs"

// Driver finds, makes and removes snapshots of the Btrfs subvolumes of this host. It holds nothing between calls: all
// state is on the file systems.
type Driver struct {
	pace driver.Pace // each batch is one transaction
}

var _ driver.Driver = (*Driver)(nil)

// New is a driver for all Btrfs file systems that are mounted on this host.
func New() *Driver {
	// The kernel frees destroyed subvolumes in the background, and whoever syncs a file meanwhile waits for it.
	pace := driver.Pace{Batch: 50, Rest: 50 * time.Millisecond}
	return &Driver{pace: pace}
}

// Kind implements driver.Driver.
func (d *Driver) Kind() string { return Kind }

// Capabilities implements driver.Driver. Each subvolume is snapshotted at an instant of its own.
func (d *Driver) Capabilities() driver.Capabilities { return driver.Capabilities{Clone: true} }
