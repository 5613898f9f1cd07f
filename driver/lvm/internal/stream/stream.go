// Package stream is how the state of a thin volume goes over a line: a format of volsnap's own, since LVM has none.
//
// # What a stream is
//
// A header, then records, then an end. All numbers are little-endian.
//
//	header   "volsnap-lvm\n", version (4 bytes, 1), GUID and base (38 bytes each, the latter zeros if there is none),
//	         size of the volume in bytes (8), size of the source pool's blocks in bytes (8), SHA-256 of all before (32)
//	record   kind (1), zeros (7), offset (8), length (8), SHA-256 (32), and data if its kind is Data
//	end      the same, with the number of records as offset, and that of their bytes of data as length
//
// The SHA-256 of a record is of that of the record before it (of the header's, for the first one), of its own kind, offset and
// length, and of its data. So each proves all that came before it, and a Position is proof of a part of a stream.
//
// # What holds
//
// Whatever the bytes are, Reader holds at most one record of them, does not panic, and hands out only records that passed
// their check: inside the volume, in rising order, without overlap, in whole sectors, and no larger than MaxData. Nothing
// follows the end. All else is ErrBad.
//
// # Going on
//
// A stream that broke goes on with the same header and the records that follow a Position. What a Writer makes of the same
// records is always the same, so it can tell whether a Position is one of its own.
package stream

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What a stream can be. ErrBroken comes together with ErrBad.
var (
	ErrBad    = errors.New("not a whole stream of one volume")
	ErrBroken = errors.New("it broke off") // the reader beneath failed or came to its end too early
	ErrOther  = errors.New("not a position of this stream")
)

const (
	// MaxData is how much data a record has, at most.
	MaxData = 1 << 20
	// Sector is what offsets and lengths are multiples of.
	Sector = 512
	// MaxSize is the largest volume that is spoken of: more than a thin pool can have.
	MaxSize = 1 << 56

	magic       = "volsnap-lvm\n"
	version     = 1
	uuidSize    = 38
	headSize    = len(magic) + 4 + 2*uuidSize + 8 + 8 + sha256.Size
	recordHead  = 8 + 8 + 8
	recordStart = recordHead + sha256.Size
)

// Head is what a stream is of.
type Head struct {
	GUID, Base string // UUIDs as LVM writes them; Base is "" if the stream holds all of the volume
	Size       int64  // of the volume, in bytes
	Block      int64  // of the pool that it comes from, in bytes
}

var uuidPattern = regexp.MustCompile(`^[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}$`)

func (h Head) check() error {
	switch {
	case !uuidPattern.MatchString(h.GUID), h.Base != "" && !uuidPattern.MatchString(h.Base), h.GUID == h.Base:
		return fmt.Errorf("it is said to make %q on top of %q", h.GUID, h.Base)
	case h.Size <= 0 || h.Size > MaxSize || h.Size%Sector != 0:
		return fmt.Errorf("it is said to be of a volume of %d bytes", h.Size)
	case h.Block <= 0 || h.Block > MaxSize || h.Block%Sector != 0:
		return fmt.Errorf("it is said to be of blocks of %d bytes", h.Block)
	}
	return nil
}

// encode is the header as it goes over the line, and its sum.
func (h Head) encode() (text []byte, sum [sha256.Size]byte) {
	text = append(text, magic...)
	text = binary.LittleEndian.AppendUint32(text, version)
	for _, uuid := range []string{h.GUID, h.Base} {
		text = append(text, uuid...)
		text = append(text, make([]byte, uuidSize-len(uuid))...)
	}
	text = binary.LittleEndian.AppendUint64(text, uint64(h.Size))
	text = binary.LittleEndian.AppendUint64(text, uint64(h.Block))
	sum = sha256.Sum256(text)
	return append(text, sum[:]...), sum
}

// Kind is what a record says of its part of the volume.
type Kind byte

// The kinds of a record.
const (
	Data    Kind = 1 // it holds Record.Data
	Discard Kind = 2 // it reads as zeros; only on top of a base, since without one all else does
	end     Kind = 3
)

// Record is one part of the volume.
type Record struct {
	Kind           Kind
	Offset, Length int64 // in bytes
	Data           []byte
}

// encode is what comes before the sum of a record.
func (r Record) encode() (out [recordHead]byte) {
	out[0] = byte(r.Kind)
	binary.LittleEndian.PutUint64(out[8:], uint64(r.Offset))
	binary.LittleEndian.PutUint64(out[16:], uint64(r.Length))
	return out
}

// Position is a place between two records of a stream, and proof of what came before. The zero Position is the beginning.
type Position struct {
	Records int64 // before it
	End     int64 // of the last of them: where in the volume it ends
	Bytes   int64 // of data in them
	sum     [sha256.Size]byte
}

// Sent is how much of the stream lies before the position, in bytes.
func (p Position) Sent() int64 {
	if p.Records == 0 {
		return 0
	}
	return int64(headSize) + p.Records*recordStart + p.Bytes
}

// String is the position as text, "RECORDS-END-BYTES-SUM", of digits, letters and "-" alone.
func (p Position) String() string {
	return fmt.Sprintf("%d-%d-%d-%x", p.Records, p.End, p.Bytes, p.sum)
}

// ParsePosition accepts exactly what String makes of a position after some record. All else is ErrOther.
func ParsePosition(text string) (Position, error) {
	parts := strings.Split(text, "-")
	if len(parts) != 4 || len(parts[3]) != 2*sha256.Size {
		return Position{}, fmt.Errorf("%.200q: %w", text, ErrOther)
	}
	var p Position
	var err error
	for i, into := range []*int64{&p.Records, &p.End, &p.Bytes} {
		n, bad := strconv.ParseInt(parts[i], 10, 64)
		*into, err = n, errors.Join(err, bad)
	}
	_, bad := hex.Decode(p.sum[:], []byte(parts[3]))
	possible := p.Records > 0 && p.Bytes >= 0 && p.End > 0 && p.End <= MaxSize && p.Bytes <= p.End && p.Records <= p.End/Sector
	if err := errors.Join(err, bad); err != nil || !possible || p.String() != text {
		return Position{}, fmt.Errorf("%.200q: %w", text, ErrOther)
	}
	return p, nil
}

// after is the position after a record that follows p, whose sum is not looked at.
func (p Position) after(r Record) Position {
	head := r.encode()
	h := sha256.New()
	_, _ = h.Write(p.sum[:]) // a hash does not fail
	_, _ = h.Write(head[:])
	_, _ = h.Write(r.Data)
	next := Position{Records: p.Records + 1, End: r.Offset + r.Length, Bytes: p.Bytes + int64(len(r.Data))}
	h.Sum(next.sum[:0])
	return next
}

// last is the record that ends a stream at the position.
func (p Position) last() Record { return Record{Kind: end, Offset: p.Records, Length: p.Bytes} }

// fits is an error for a record that may not follow the position.
func (p Position) fits(h Head, r Record) error {
	wrong := func(why string) error {
		return fmt.Errorf("record %d (kind %d, %d bytes at %d) %s", p.Records+1, r.Kind, r.Length, r.Offset, why)
	}
	switch {
	case r.Kind != Data && r.Kind != Discard:
		return wrong("is of no known kind")
	case r.Kind == Discard && h.Base == "":
		return wrong("takes away where nothing is")
	case r.Offset%Sector != 0 || r.Length%Sector != 0:
		return wrong("is not of whole sectors")
	case r.Length <= 0 || r.Kind == Data && r.Length > MaxData:
		return wrong("has an impossible length")
	case r.Offset < p.End:
		return wrong(fmt.Sprintf("begins before %d, where the last one ended", p.End))
	case r.Offset > h.Size || r.Length > h.Size-r.Offset:
		return wrong(fmt.Sprintf("is not within the volume of %d bytes", h.Size))
	}
	return nil
}
