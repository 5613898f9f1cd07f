package btrfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"time"

	"github.com/dennwc/btrfs"
	"github.com/dennwc/ioctl"

	"github.com/volsnap/volsnap/internal/fault"
)

// dennwc/btrfs makes snapshots by path and loses the errno, so the driver issues these ioctls itself, on directories that
// it has opened and checked. Layouts and numbers are those of linux/btrfs.h.

const (
	magic       = 0x94
	subvolRO    = 1 << 1 // BTRFS_SUBVOL_RDONLY
	subvolByID  = 1 << 4 // BTRFS_SUBVOL_SPEC_BY_ID
	firstFree   = 256    // BTRFS_FIRST_FREE_OBJECTID: the inode of every subvolume's top
	topTree     = 5      // BTRFS_FS_TREE_OBJECTID: the subvolume that holds all others
	rootFlagRO  = 1 << 0 // BTRFS_ROOT_SUBVOL_RDONLY
	lookupBytes = 4080   // BTRFS_INO_LOOKUP_PATH_MAX
)

// volArgs is struct btrfs_ioctl_vol_args_v2.
type volArgs struct {
	fd    int64
	_     uint64 // transaction
	flags uint64
	_     [4]uint64
	name  [4040]byte // or a subvolume's id in the first eight bytes
}

// receivedArgs is struct btrfs_ioctl_received_subvol_args.
type receivedArgs struct {
	uuid    btrfs.UUID
	transid uint64       // at the source
	_       uint64       // its transaction here, which the kernel tells
	_       [2]timestamp // when it was sent, and received, which the kernel tells
	_       [17]uint64
}

// subvolArgs is struct btrfs_ioctl_get_subvol_info_args.
type subvolArgs struct {
	id         uint64
	name       [256]byte
	parent     uint64
	dir        uint64
	generation uint64
	flags      uint64
	uuid       btrfs.UUID
	parentUUID btrfs.UUID
	received   btrfs.UUID
	transids   [4]uint64    // change, creation, send, receive
	times      [4]timestamp // the same order
	_          [8]uint64
}

type timestamp struct {
	sec  uint64
	nsec uint32
	_    uint32
}

func (t timestamp) time() time.Time { return time.Unix(int64(t.sec), int64(t.nsec)) }

// lookupArgs is struct btrfs_ioctl_ino_lookup_args.
type lookupArgs struct {
	tree, inode uint64
	name        [lookupBytes]byte
}

var (
	iocCommit     = ioctl.IOR(magic, 24, 8) // BTRFS_IOC_START_SYNC
	iocAwait      = ioctl.IOW(magic, 22, 8) // BTRFS_IOC_WAIT_SYNC
	iocSnapshot   = ioctl.IOW(magic, 23, 4096)
	iocCreate     = ioctl.IOW(magic, 24, 4096)
	iocFlags      = ioctl.IOW(magic, 26, 8)
	iocReceived   = ioctl.IOWR(magic, 37, 200)
	iocDestroy    = ioctl.IOW(magic, 63, 4096)
	iocLookup     = ioctl.IOWR(magic, 18, 4096)
	iocSearch     = ioctl.IOWR(magic, 17, 112)
	iocFSInfo     = ioctl.IOR(magic, 31, 1024)
	iocSubvolInfo = ioctl.IOR(magic, 60, 504)
)

// subvol is what the kernel knows of a subvolume.
type subvol struct {
	id                   uint64
	parent, dir          uint64 // the tree and the inode of the directory that holds it
	name                 string // its name there
	uuid, from, received btrfs.UUID
	readOnly             bool
	made, arrived        time.Time // by this host's clock; arrived means nothing unless received is set
	written, born        uint64    // the transactions in which it was written to last, as far as they are committed, and made
}

// makeSnapshot makes dst/name from the subvolume whose top src is. An existing name is EEXIST and stays.
func makeSnapshot(src, dst *os.File, name string, readOnly bool) error {
	args := volArgs{fd: int64(src.Fd())}
	if readOnly {
		args.flags = subvolRO
	}
	copy(args.name[:len(args.name)-1], name)
	fault.Point("before snapshot")
	defer fault.Point("after snapshot")
	return ioctl.Do(dst, iocSnapshot, &args)
}

// makeSubvol makes dst/name, empty and writable. An existing name is EEXIST and stays.
func makeSubvol(dst *os.File, name string) error {
	var args volArgs
	copy(args.name[:len(args.name)-1], name)
	fault.Point("before subvolume")
	defer fault.Point("after subvolume")
	return ioctl.Do(dst, iocCreate, &args)
}

// setReceived notes in the subvolume whose top is f what it is a replica of, and makes it read-only.
func setReceived(f *os.File, uuid btrfs.UUID, transid uint64) error {
	fault.Point("before received UUID")
	defer fault.Point("after read-only")
	if err := ioctl.Do(f, iocReceived, &receivedArgs{uuid: uuid, transid: transid}); err != nil {
		return err
	}
	flags := uint64(subvolRO)
	return ioctl.Do(f, iocFlags, &flags)
}

// destroySubvol removes the subvolume with that id from the file system that dir is on, wherever it is linked.
func destroySubvol(dir *os.File, id uint64) error {
	args := volArgs{flags: subvolByID}
	binary.NativeEndian.PutUint64(args.name[:], id)
	fault.Point("before destroy")
	defer fault.Point("after destroy")
	return ioctl.Do(dir, iocDestroy, &args)
}

// infoOf describes the subvolume that the open file or directory is in.
func infoOf(f *os.File) (subvol, error) {
	var args subvolArgs
	if err := ioctl.Do(f, iocSubvolInfo, &args); err != nil {
		return subvol{}, err
	}
	return subvol{
		id: args.id, parent: args.parent, dir: args.dir, name: cString(args.name[:]),
		uuid: args.uuid, from: args.parentUUID, received: args.received, readOnly: args.flags&rootFlagRO != 0,
		made: args.times[1].time(), arrived: args.times[3].time(), written: args.generation, born: args.transids[1],
	}, nil
}

// treeOf is the id of the subvolume that the open file or directory is in.
func treeOf(f *os.File) (uint64, error) {
	args := lookupArgs{inode: firstFree}
	err := ioctl.Do(f, iocLookup, &args)
	return args.tree, err
}

// dirPath is the path of a directory inside its subvolume: "" for its top, else "a/b/".
func dirPath(f *os.File, tree, inode uint64) (string, error) {
	if inode == firstFree {
		return "", nil
	}
	args := lookupArgs{tree: tree, inode: inode}
	err := ioctl.Do(f, iocLookup, &args)
	return cString(args.name[:]), err
}

// fsUUID is the UUID of the file system that the open file or directory is on.
func fsUUID(f *os.File) (string, error) {
	var args [1024]byte // struct btrfs_ioctl_fs_info_args: two counts, then the UUID
	if err := ioctl.Do(f, iocFSInfo, &args); err != nil {
		return "", err
	}
	return btrfs.UUID(args[16:32]).String(), nil
}

// commit returns once all that was done to the file system's trees is on disk. Unlike syncfs it does not wait for the
// dirty pages of others.
func commit(f *os.File) error {
	var transid uint64
	if err := ioctl.Do(f, iocCommit, &transid); err != nil {
		return err
	}
	return ioctl.Do(f, iocAwait, &transid)
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
