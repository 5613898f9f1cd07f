// Package zfs is the driver of ZFS file systems.
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
// # How ZFS is spoken to
//
// By its commands: the kernel's interface is private to libzfs. All go through run.go, but for the facts of a single
// dataset (facts.go). A pool that is suspended lets its commands hang: they end with the context, and the state of a pool
// is read from /proc/spl/kstat, which does not hang, before anything is asked of it.
package zfs

import (
	"time"

	"github.com/volsnap/volsnap/driver"
)

// Kind is the kind of this driver's datasets.
const Kind = "zfs"

// Driver finds, makes and removes snapshots of the ZFS file systems of this host. It holds nothing between calls: all
// state is in the pools.
type Driver struct {
	host host
	pace driver.Pace // each batch is looked at anew
}

var _ driver.Driver = (*Driver)(nil)

// New is a driver for all pools that are imported on this host.
func New() *Driver {
	// A pool that has thousands of snapshots to destroy at once holds up whoever writes to it (znapzend#618).
	pace := driver.Pace{Batch: 50, Rest: 50 * time.Millisecond}
	return &Driver{host: thisHost, pace: pace}
}

// Kind implements driver.Driver.
func (d *Driver) Kind() string { return Kind }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{AtomicGroup: true, Clone: true}
}
