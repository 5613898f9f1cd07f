package stream

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dennwc/btrfs"
)

// Op is what a command does; its number is that of enum btrfs_send_cmd.
type Op uint16

// The commands that fill a subvolume.
const (
	opSubvol, opSnapshot, opEnd Op = 1, 2, 21

	MakeFile     Op = 3
	MakeDir      Op = 4
	MakeNode     Op = 5
	MakeFifo     Op = 6
	MakeSocket   Op = 7
	Symlink      Op = 8
	Rename       Op = 9
	Link         Op = 10
	Unlink       Op = 11
	RemoveDir    Op = 12
	SetXattr     Op = 13
	RemoveXattr  Op = 14
	Write        Op = 15
	Clone        Op = 16
	Truncate     Op = 17
	Chmod        Op = 18
	Chown        Op = 19
	Utimes       Op = 20
	Allocate     Op = 23
	Flags        Op = 24 // of the inode; neither Linux nor btrfs-progs make anything of it yet
	EncodedWrite Op = 25
)

// Command is one command; which fields mean something depends on Op.
type Command struct {
	Op   Op
	Path string // inside the subvolume, "" for its top
	To   string // Rename: the new path; Link: the path of what is linked; Symlink: what the link says, which can be anything
	Name string // of the extended attribute
	Data []byte // what is written, or the value of the extended attribute

	Offset, Size     uint64 // in the file, also of Clone's target; of Truncate the size alone
	Mode, Device     uint64
	UID, GID         uint64
	Accessed, Edited time.Time

	From       btrfs.UUID // Clone: the subvolume of the source, which may be the one that is being made
	FromPath   string
	FromOffset uint64

	FileLen, Len, Skip uint64 // EncodedWrite: bytes that it makes of the file, bytes when decoded, those of them to leave out
	Compression        uint32
	Encryption         uint32
}

// attr is the number of an attribute, of enum btrfs_send_attribute.
type attr uint16

const (
	aUUID          attr = 1
	aCtransid      attr = 2
	aSize          attr = 4
	aMode          attr = 5
	aUID           attr = 6
	aGID           attr = 7
	aRdev          attr = 8
	aCtime         attr = 9
	aMtime         attr = 10
	aAtime         attr = 11
	aOtime         attr = 12
	aXattrName     attr = 13
	aXattrData     attr = 14
	aPath          attr = 15
	aPathTo        attr = 16
	aPathLink      attr = 17
	aOffset        attr = 18
	aData          attr = 19
	aCloneUUID     attr = 20
	aCloneCtransid attr = 21
	aClonePath     attr = 22
	aCloneOffset   attr = 23
	aCloneLen      attr = 24
	aAllocateMode  attr = 25
	aFileLen       attr = 27
	aLen           attr = 28
	aSkip          attr = 29
	aCompression   attr = 30
	aEncryption    attr = 31
	attrs          attr = 32 // all are smaller
)

// command is what is known of an Op.
type command struct {
	name  string
	since uint32
	needs []attr
	onTop bool // it may be about the subvolume's top, whose path is ""
}

// commands are all that are accepted. UPDATE_EXTENT is not one: it is in streams without data alone.
var commands = [...]command{
	opSubvol:     {"SUBVOL", 1, []attr{aPath, aUUID, aCtransid}, false},
	opSnapshot:   {"SNAPSHOT", 1, []attr{aPath, aUUID, aCtransid, aCloneUUID, aCloneCtransid}, false},
	opEnd:        {"END", 1, nil, false},
	MakeFile:     {"MKFILE", 1, []attr{aPath}, false},
	MakeDir:      {"MKDIR", 1, []attr{aPath}, false},
	MakeNode:     {"MKNOD", 1, []attr{aPath, aMode, aRdev}, false},
	MakeFifo:     {"MKFIFO", 1, []attr{aPath}, false},
	MakeSocket:   {"MKSOCK", 1, []attr{aPath}, false},
	Symlink:      {"SYMLINK", 1, []attr{aPath, aPathLink}, false},
	Rename:       {"RENAME", 1, []attr{aPath, aPathTo}, false},
	Link:         {"LINK", 1, []attr{aPath, aPathLink}, false},
	Unlink:       {"UNLINK", 1, []attr{aPath}, false},
	RemoveDir:    {"RMDIR", 1, []attr{aPath}, false},
	SetXattr:     {"SET_XATTR", 1, []attr{aPath, aXattrName, aXattrData}, true},
	RemoveXattr:  {"REMOVE_XATTR", 1, []attr{aPath, aXattrName}, true},
	Write:        {"WRITE", 1, []attr{aPath, aOffset, aData}, false},
	Clone:        {"CLONE", 1, []attr{aPath, aOffset, aCloneLen, aCloneUUID, aClonePath, aCloneOffset}, false},
	Truncate:     {"TRUNCATE", 1, []attr{aPath, aSize}, false},
	Chmod:        {"CHMOD", 1, []attr{aPath, aMode}, true},
	Chown:        {"CHOWN", 1, []attr{aPath, aUID, aGID}, true},
	Utimes:       {"UTIMES", 1, []attr{aPath, aAtime, aMtime}, true},
	Allocate:     {"FALLOCATE", 2, []attr{aPath, aAllocateMode, aOffset, aSize}, false},
	Flags:        {"FILEATTR", 2, []attr{aPath}, true},
	EncodedWrite: {"ENCODED_WRITE", 2, []attr{aPath, aOffset, aFileLen, aLen, aSkip, aData}, false},
}

func commandOf(op Op) (command, bool) {
	if int(op) >= len(commands) || commands[op].name == "" {
		return command{}, false
	}
	return commands[op], true
}

func (op Op) String() string {
	if c, ok := commandOf(op); ok {
		return c.name
	}
	return fmt.Sprintf("command %d", uint16(op))
}

// fill makes a command of attrs.
func (r *Reader) fill(op Op) Command {
	c := Command{Op: op, Path: r.text(aPath)}
	switch op {
	case Rename:
		c.To = r.text(aPathTo)
	case Link, Symlink:
		c.To = r.text(aPathLink)
	case MakeNode:
		c.Mode, c.Device = r.u64(aMode), r.u64(aRdev)
	case SetXattr, RemoveXattr:
		c.Name, c.Data = string(r.attrs[aXattrName]), r.attrs[aXattrData]
	case Write:
		c.Offset, c.Data = r.u64(aOffset), r.attrs[aData]
	case Clone:
		c.Offset, c.Size, c.FromOffset = r.u64(aOffset), r.u64(aCloneLen), r.u64(aCloneOffset)
		c.From, c.FromPath = btrfs.UUID(r.attrs[aCloneUUID]), r.text(aClonePath)
	case Truncate:
		c.Size = r.u64(aSize)
	case Chmod:
		c.Mode = r.u64(aMode)
	case Chown:
		c.UID, c.GID = r.u64(aUID), r.u64(aGID)
	case Utimes:
		c.Accessed, c.Edited = r.time(aAtime), r.time(aMtime)
	case Allocate:
		c.Offset, c.Size, c.Mode = r.u64(aOffset), r.u64(aSize), uint64(r.u32(aAllocateMode))
	case EncodedWrite:
		c.Offset, c.Data = r.u64(aOffset), r.attrs[aData]
		c.FileLen, c.Len, c.Skip = r.u64(aFileLen), r.u64(aLen), r.u64(aSkip)
		c.Compression, c.Encryption = r.u32(aCompression), r.u32(aEncryption)
	}
	return c
}

func (r *Reader) time(a attr) time.Time {
	b := r.attrs[a]
	return time.Unix(int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint32(b[8:])))
}
