// Package streamtest writes streams of "btrfs send" by hand, for tests: whole ones, damaged ones and hostile ones.
package streamtest

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// Attr is an attribute: its number and its value.
type Attr struct {
	Number uint16
	Value  []byte
}

// Text is an attribute that is a path or a name.
func Text(number uint16, value string) Attr { return Attr{number, []byte(value)} }

// U64 is an attribute that is a number.
func U64(number uint16, value uint64) Attr {
	return Attr{number, binary.LittleEndian.AppendUint64(nil, value)}
}

// U32 is an attribute that is a short number.
func U32(number uint16, value uint32) Attr {
	return Attr{number, binary.LittleEndian.AppendUint32(nil, value)}
}

// UUID is an attribute that is a UUID, which is given as text.
func UUID(number uint16, value string) Attr {
	raw, _ := hex.DecodeString(strings.ReplaceAll(value, "-", "")) // of a bad one comes a bad attribute
	return Attr{number, raw}
}

// Time is an attribute that is a time, in seconds.
func Time(number uint16, sec int64) Attr {
	return Attr{number, append(binary.LittleEndian.AppendUint64(nil, uint64(sec)), 0, 0, 0, 0)}
}

// Header begins a stream.
func Header(version uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte("btrfs-stream\x00"), version)
}

// Command is a command with a good checksum.
func Command(op uint16, attrs ...Attr) []byte {
	var body []byte
	for _, a := range attrs {
		body = binary.LittleEndian.AppendUint16(body, a.Number)
		body = binary.LittleEndian.AppendUint16(body, uint16(len(a.Value)))
		body = append(body, a.Value...)
	}
	return Raw(op, body)
}

// Raw is a command whose attributes are these bytes.
func Raw(op uint16, body []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	out = binary.LittleEndian.AppendUint16(out, op)
	out = append(out, 0, 0, 0, 0)
	out = append(out, body...)
	sum := ^crc32.Update(^uint32(0), crc32.MakeTable(crc32.Castagnoli), out) // without the usual inversion
	binary.LittleEndian.PutUint32(out[6:], sum)
	return out
}

// Subvol is the first command of a stream that holds all of a subvolume.
func Subvol(path, uuid string) []byte {
	return Command(1, Text(15, path), UUID(1, uuid), U64(2, 7))
}

// Snapshot is the first command of a stream that builds on a base.
func Snapshot(path, uuid, base string) []byte {
	return Command(2, Text(15, path), UUID(1, uuid), U64(2, 8), UUID(20, base), U64(21, 7))
}

// End is the last command.
func End() []byte { return Command(21) }

// Stream is a stream of version 1 that holds all of a subvolume.
func Stream(uuid string, commands ...[]byte) []byte {
	return join(append([][]byte{Header(1), Subvol("s", uuid)}, append(commands, End())...))
}

// Step is a stream of version 1 that builds on a base.
func Step(uuid, base string, commands ...[]byte) []byte {
	return join(append([][]byte{Header(1), Snapshot("s", uuid, base)}, append(commands, End())...))
}

func join(parts [][]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
