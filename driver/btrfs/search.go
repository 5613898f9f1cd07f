package btrfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"github.com/dennwc/btrfs"
	"github.com/dennwc/ioctl"
)

// Item types of the tree of roots, and what its items hold: linux/btrfs_tree.h.
const (
	rootTree    = 1
	rootItem    = 132
	rootBackref = 144 // (subvolume, rootBackref, parent subvolume)
	rootRef     = 156 // (parent subvolume, rootRef, subvolume)

	searchKey    = 104 // sizeof(struct btrfs_ioctl_search_key)
	searchHeader = 32  // sizeof(struct btrfs_ioctl_search_header)
	searchBuffer = 256 << 10
)

// itemKey is the key of an item of a tree; a search goes through them in this order.
type itemKey struct {
	object uint64
	typ    uint32
	offset uint64
}

// next is the smallest key after k.
func (k itemKey) next() itemKey {
	if k.offset++; k.offset != 0 {
		return k
	}
	if k.typ++; k.typ <= math.MaxUint8 {
		return k
	}
	return itemKey{object: k.object + 1}
}

// searchRoots calls fn with each item of the tree of roots from first to last. What it is given is valid until it returns.
func searchRoots(f *os.File, first, last itemKey, fn func(itemKey, []byte)) error {
	args := make([]byte, searchKey+8+searchBuffer)
	le := binary.NativeEndian
	for {
		clear(args[:searchKey+8])
		le.PutUint64(args[0:], rootTree)
		le.PutUint64(args[8:], first.object)
		le.PutUint64(args[16:], last.object)
		le.PutUint64(args[24:], first.offset)
		le.PutUint64(args[32:], last.offset)
		le.PutUint64(args[48:], math.MaxUint64) // any transaction
		le.PutUint32(args[56:], first.typ)
		le.PutUint32(args[60:], last.typ)
		le.PutUint32(args[64:], math.MaxUint32) // as many as the buffer holds
		le.PutUint64(args[searchKey:], searchBuffer)
		if err := ioctl.Do(f, iocSearch, args); err != nil {
			return fmt.Errorf("search the tree of roots: %w", err)
		}
		n := le.Uint32(args[64:])
		if n == 0 {
			return nil
		}
		var at itemKey
		rest := args[searchKey+8:]
		for range n {
			at = itemKey{le.Uint64(rest[8:]), le.Uint32(rest[24:]), le.Uint64(rest[16:])}
			end := searchHeader + int(le.Uint32(rest[28:]))
			fn(at, rest[searchHeader:end])
			rest = rest[end:]
		}
		if at == last {
			return nil
		}
		first = at.next()
	}
}

// subvolsNamed returns the subvolumes of f's file system whose names want accepts.
func subvolsNamed(f *os.File, want func(name string) bool) ([]subvol, error) {
	var out []subvol
	var item subvol // of the subvolume whose references come next
	first, last := itemKey{object: firstFree}, itemKey{math.MaxUint64 - 255, rootRef, math.MaxUint64}
	err := searchRoots(f, first, last, func(k itemKey, data []byte) {
		switch k.typ {
		case rootItem:
			item = parseRoot(k.object, data)
		case rootBackref:
			dir, name := parseRef(data)
			if item.id == k.object && want(name) {
				item.parent, item.dir, item.name = k.offset, dir, name
				out = append(out, item)
			}
		}
	})
	return out, err
}

// subvolsIn returns the subvolumes that lie directly in another: their names, and where they lie.
func subvolsIn(f *os.File, parent uint64) ([]subvol, error) {
	var out []subvol
	err := searchRoots(f, itemKey{parent, rootRef, 0}, itemKey{parent, rootRef, math.MaxUint64},
		func(k itemKey, data []byte) {
			if k.typ == rootRef && k.object == parent {
				dir, name := parseRef(data)
				out = append(out, subvol{id: k.offset, parent: parent, dir: dir, name: name})
			}
		})
	return out, err
}

// subvolPath is the path of a subvolume from the top of its file system: "/", "/a/b".
func subvolPath(f *os.File, id uint64) (string, error) {
	at := ""
	for id != topTree {
		var up subvol
		err := searchRoots(f, itemKey{id, rootBackref, 0}, itemKey{id, rootBackref, math.MaxUint64},
			func(k itemKey, data []byte) {
				if k.typ == rootBackref && k.object == id {
					up.parent = k.offset
					up.dir, up.name = parseRef(data)
				}
			})
		if err != nil {
			return "", err
		}
		if up.parent == 0 {
			return "", fmt.Errorf("subvolume %d was deleted", id)
		}
		dir, err := dirPath(f, up.parent, up.dir)
		if err != nil {
			return "", fmt.Errorf("find the directory of subvolume %d: %w", id, err)
		}
		at, id = path.Join(dir, up.name, at), up.parent
	}
	return "/" + strings.TrimPrefix(at, "/"), nil
}

// parseRoot reads a struct btrfs_root_item; one from before Linux 3.6 has no UUIDs.
func parseRoot(id uint64, b []byte) subvol {
	const flags, uuid, from, received, made, arrived, end = 208, 247, 263, 279, 339, 363, 439
	if len(b) < end {
		return subvol{id: id}
	}
	at := func(i int) time.Time { // struct btrfs_timespec
		return time.Unix(int64(binary.LittleEndian.Uint64(b[i:])), int64(binary.LittleEndian.Uint32(b[i+8:])))
	}
	return subvol{
		id: id, readOnly: binary.LittleEndian.Uint64(b[flags:])&rootFlagRO != 0,
		uuid: btrfs.UUID(b[uuid:from]), from: btrfs.UUID(b[from:received]),
		received: btrfs.UUID(b[received : received+16]), made: at(made), arrived: at(arrived),
	}
}

// parseRef reads a struct btrfs_root_ref: the inode of the directory, and the name in it.
func parseRef(b []byte) (dir uint64, name string) {
	const head = 18
	if len(b) < head {
		return 0, ""
	}
	n := min(int(binary.LittleEndian.Uint16(b[16:])), len(b)-head)
	return binary.LittleEndian.Uint64(b), string(b[head : head+n])
}
