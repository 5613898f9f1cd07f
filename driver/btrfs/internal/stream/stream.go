// Package stream reads what "btrfs send" writes, and believes none of it.
//
// # What a stream is
//
// A header, then commands, each with a length, a number, a checksum and attributes: fs/btrfs/send.h of Linux, of which this
// package knows versions 1 and 2. The first command makes the subvolume, the others fill it, the last one is END.
//
// # What holds
//
// Whatever the bytes are, Reader holds at most MaxCommand of them, does not panic, and hands out only commands that
// are whole, pass their checksum, have every attribute that they need, each once and of its proper size, and whose paths
// lie inside the subvolume: relative, clean, without ".." and without zero bytes. Exactly one subvolume is made, by the first
// command, and nothing follows the last. All else is ErrBad.
//
// What a path leads to is not known here: symbolic links, devices and the like are for who applies the commands to watch.
package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dennwc/btrfs"
)

// ErrBad is a stream that is damaged, ended early, or holds what no stream of one subvolume does. An error of the reader
// beneath is wrapped beside it.
var ErrBad = errors.New("not a whole stream of one subvolume")

// MaxCommand is the largest command that is read. Version 1 never has more than 64 KiB; of version 2 Linux makes at most
// 16 KiB and one compressed extent of 128 KiB, rounded up to its pages.
const MaxCommand = 256 << 10

const (
	magic       = "btrfs-stream\x00"
	maxV1       = 64 << 10
	newest      = 2
	headerBytes = 10 // of a command: length, number, checksum
	readAhead   = 256 << 10
)

// castagnoli is the polynomial of the checksum, which is without the usual inversion at either end.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Head is what a stream makes: its first command.
type Head struct {
	Version              uint32
	UUID, Base           btrfs.UUID // Base is zero if the stream holds all of the subvolume
	Transid, BaseTransid uint64
}

// Reader reads one stream.
type Reader struct {
	r       *bufio.Reader
	version uint32
	buf     []byte
	attrs   [attrs][]byte
	read    int64
	path    string // of the last command, since most have the same
	ended   bool
}

// NewReader reads from r, and ahead of what it hands out.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, readAhead)} }

// Head reads the header and the first command. It must be called once, before Next.
func (r *Reader) Head() (Head, error) {
	var head [len(magic) + 4]byte
	if err := r.full(head[:]); err != nil {
		return Head{}, fmt.Errorf("%w: header: %w", ErrBad, err)
	}
	r.version = binary.LittleEndian.Uint32(head[len(magic):])
	if string(head[:len(magic)]) != magic || r.version < 1 || r.version > newest {
		return Head{}, fmt.Errorf("%w: begins with %q", ErrBad, head)
	}
	op, err := r.command()
	if err == nil && op != opSubvol && op != opSnapshot {
		err = fmt.Errorf("the first command is %s", op)
	}
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	h := Head{Version: r.version, UUID: btrfs.UUID(r.attrs[aUUID]), Transid: r.u64(aCtransid)}
	if op == opSnapshot {
		h.Base, h.BaseTransid = btrfs.UUID(r.attrs[aCloneUUID]), r.u64(aCloneCtransid)
	}
	if h.UUID.IsZero() || op == opSnapshot && h.Base.IsZero() || h.UUID == h.Base {
		return Head{}, fmt.Errorf("%w: makes the subvolume %s from %s", ErrBad, h.UUID, h.Base)
	}
	return h, nil
}

// Next is the next command; what it holds is valid until the next call. io.EOF comes once, after END, if nothing follows it.
func (r *Reader) Next() (Command, error) {
	if r.ended {
		return Command{}, io.EOF
	}
	op, err := r.command()
	switch {
	case err != nil:
		return Command{}, fmt.Errorf("%w at byte %d: %w", ErrBad, r.read, err)
	case op == opSubvol, op == opSnapshot:
		return Command{}, fmt.Errorf("%w: makes a second subvolume", ErrBad)
	case op != opEnd:
		return r.fill(op), nil
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return Command{}, errors.Join(fmt.Errorf("%w: does not end with its last command", ErrBad), err)
	}
	r.ended = true
	return Command{}, io.EOF
}

// Bytes are those of the stream that were handed out.
func (r *Reader) Bytes() int64 { return r.read }

// full reads all of b. The end of the stream is never in place there.
func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.read += int64(n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// command reads one command into attrs.
func (r *Reader) command() (Op, error) {
	var head [headerBytes]byte
	if err := r.full(head[:]); err != nil {
		return 0, err
	}
	size, limit := binary.LittleEndian.Uint32(head[:]), uint32(maxV1)
	if r.version > 1 {
		limit = MaxCommand
	}
	op, sum := Op(binary.LittleEndian.Uint16(head[4:])), binary.LittleEndian.Uint32(head[6:])
	if size > limit {
		return 0, fmt.Errorf("a command of %d bytes", size)
	}
	if int(size) > cap(r.buf) {
		r.buf = make([]byte, limit)
	}
	r.buf = r.buf[:size]
	if err := r.full(r.buf); err != nil {
		return 0, err
	}
	clear(head[6:])
	crc := ^crc32.Update(crc32.Update(^uint32(0), castagnoli, head[:]), castagnoli, r.buf)
	if crc != sum {
		return 0, fmt.Errorf("%s has the checksum %08x, not %08x", op, crc, sum)
	}
	return op, r.parse(op)
}

// parse finds the attributes of a command in buf.
func (r *Reader) parse(op Op) error {
	r.attrs = [attrs][]byte{}
	for rest := r.buf; len(rest) > 0; {
		if len(rest) < 2 {
			return fmt.Errorf("%s: an attribute is cut off", op)
		}
		a := attr(binary.LittleEndian.Uint16(rest))
		rest = rest[2:]
		size := len(rest)
		if a != aData || r.version == 1 { // from version 2 on data is the last one and has no length
			if len(rest) < 2 {
				return fmt.Errorf("%s: attribute %d is cut off", op, a)
			}
			size = int(binary.LittleEndian.Uint16(rest))
			rest = rest[2:]
		}
		if size > len(rest) || a == 0 || a >= attrs || r.attrs[a] != nil {
			return fmt.Errorf("%s: attribute %d of %d bytes does not belong there", op, a, size)
		}
		r.attrs[a] = rest[:size:size]
		rest = rest[size:]
	}
	return r.check(op)
}

func (r *Reader) u64(a attr) uint64 {
	if len(r.attrs[a]) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(r.attrs[a])
}

func (r *Reader) u32(a attr) uint32 {
	if len(r.attrs[a]) != 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(r.attrs[a])
}

// text is a path as a string; the one of the command before is not made anew.
func (r *Reader) text(a attr) string {
	if a != aPath {
		return string(r.attrs[a])
	}
	if string(r.attrs[a]) != r.path {
		r.path = string(r.attrs[a])
	}
	return r.path
}

// HeadSize is how many bytes Head reads of a stream that begins with b; 0 if b is too short to tell.
func HeadSize(b []byte) int {
	const at = len(magic) + 4
	if len(b) < at+headerBytes {
		return 0
	}
	return at + headerBytes + int(min(binary.LittleEndian.Uint32(b[at:]), MaxCommand))
}
