package zfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A stream of `zfs send` is a sequence of records of 312 bytes, some with a payload behind them, in the byte order of the host
// that sends (OpenZFS, include/sys/zfs_ioctl.h, dmu_replay_record_t). The first is DRR_BEGIN, the last of a plain stream DRR_END.
const (
	recordSize = 312
	drrBegin   = 0
	drrEnd     = 5

	streamMagic = 0x2F5bacbac
	substream   = 1 // DMU_SUBSTREAM; a compound one has properties, holds, or several snapshots
	fileSystemS = 2 // DMU_OST_ZFS

	payloadLimit = 1 << 20 // of DRR_BEGIN: the key of a raw stream, encrypted, and where a stream goes on
)

// Feature flags of a stream. All that is known and harmless may come; the kernel refuses what it cannot do. Not among them:
// deduplication (0, 1), redaction (21), and holds (26), which come with compound streams alone.
const (
	featureResuming = 1 << 20
	featureRaw      = 1 << 24

	featuresKnown = 1<<2 | 1<<16 | 1<<17 | 1<<19 | featureResuming | 1<<22 | 1<<23 | featureRaw | 1<<25 | 1<<27 |
		1<<28 | 1<<29 // long names (2.3) and large microzaps (2.4)
)

// Flags of DRR_BEGIN. DRR_FLAG_CLONE says that the base lies in another dataset at the source, and that it can only be received as
// a clone of the base: `zfs receive` is told of which, and takes no other.
const (
	flagClone  = 1 << 0
	flagsKnown = flagClone | 1<<1 | 1<<2 | 1<<3 // case-insensitive, free records, spill blocks
)

// head is what the first record of a stream says.
type head struct {
	order    binary.ByteOrder
	payload  uint32
	kind     uint64 // of the header, see substream
	features uint64
	objects  uint32 // the kind of what is in it, see fileSystemS
	flags    uint32
	to, from string // GUIDs; from is "" for a stream that holds all
	name     string // of the snapshot at the source
}

var errNoStream = errors.New("it does not begin as a stream of zfs send does")

// parseHead reads the first record of a stream.
func parseHead(b []byte) (head, error) {
	var h head
	if len(b) != recordSize {
		return h, errNoStream
	}
	switch {
	case binary.LittleEndian.Uint64(b[8:]) == streamMagic:
		h.order = binary.LittleEndian
	case binary.BigEndian.Uint64(b[8:]) == streamMagic:
		h.order = binary.BigEndian
	default:
		return h, errNoStream
	}
	name, _, ended := bytes.Cut(b[56:], []byte{0})
	if h.order.Uint32(b) != drrBegin || !ended {
		return h, errNoStream
	}
	version := h.order.Uint64(b[16:])
	h.payload, h.kind, h.features = h.order.Uint32(b[4:]), version&3, version>>2
	h.objects, h.flags = h.order.Uint32(b[32:]), h.order.Uint32(b[36:])
	h.to, h.from, h.name = guidText(h.order.Uint64(b[40:])), guidText(h.order.Uint64(b[48:])), string(name)
	return h, nil
}

// guidText is a GUID as ZFS prints it; 0 is none.
func guidText(guid uint64) string {
	if guid == 0 {
		return ""
	}
	return strconv.FormatUint(guid, 10)
}

// plain is an error for a stream that is not of one file system's data alone.
func (h head) plain() error {
	raw, resuming := h.raw(), h.resuming()
	switch {
	case h.kind != substream:
		return fmt.Errorf("it is a compound stream (%d), which has more in it than one snapshot", h.kind)
	case h.objects != fileSystemS:
		return fmt.Errorf("it is of no file system (%d)", h.objects)
	case h.features&^featuresKnown != 0:
		return fmt.Errorf("it has features (%#x) that are not received here", h.features&^featuresKnown)
	case h.flags&^flagsKnown != 0:
		return fmt.Errorf("it has flags (%#x) that are not received here", h.flags&^flagsKnown)
	case h.clone() && h.from == "":
		return errors.New("it is of a clone of nothing")
	case h.payload > payloadLimit || h.payload > 0 && !raw && !resuming:
		return fmt.Errorf("it begins with %d bytes that no plain stream has", h.payload)
	case h.to == "" || !strings.Contains(h.name, "@"):
		return fmt.Errorf("it is of no snapshot (%q)", h.name)
	}
	return nil
}

func (h head) raw() bool      { return h.features&featureRaw != 0 }
func (h head) clone() bool    { return h.flags&flagClone != 0 }
func (h head) resuming() bool { return h.features&featureResuming != 0 }

// makes is an error for a stream that makes another snapshot, or builds on another.
func (h head) makes(guid, base string) error {
	if h.to == guid && h.from == base {
		return nil
	}
	return fmt.Errorf("it makes %q on top of %q, not %q on top of %q", h.to, h.from, guid, base)
}

// ends reports whether a record is the last one of the stream.
func (h head) ends(b []byte) bool {
	return len(b) == recordSize && h.order.Uint32(b) == drrEnd && h.order.Uint32(b[4:]) == 0 && guidText(h.order.Uint64(b[40:])) == h.to
}
