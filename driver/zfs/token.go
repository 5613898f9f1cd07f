package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// token is what the property receive_resume_token says of a transfer that broke. The kernel writes it as
// "1-CHECKSUM-SIZE-HEX", with the HEX of a compressed native nvlist (OpenZFS, dsl_dataset.c, get_receive_resume_token_impl).
type token struct {
	to, from string // GUIDs
	name     string // of the snapshot at the source
	bytes    uint64 // of the stream that have come
	raw      bool
}

const (
	tokenLimit = 16 << 10 // bytes; a real one has some hundred
	tokenSize  = 4 << 10  // of its nvlist
)

var errBadToken = errors.New("no token of a broken zfs receive")

// parseToken accepts what the kernel of a host with our byte order writes. `zfs send` acts on what it finds in a token, so one
// that has anything that is not known here is refused.
func parseToken(text string) (token, error) {
	list, err := unpackToken(text)
	if err != nil {
		return token{}, fmt.Errorf("%w: %w", errBadToken, err)
	}
	t, err := readToken(list)
	if err != nil {
		return token{}, fmt.Errorf("%w: %w", errBadToken, err)
	}
	return t, nil
}

// unpackToken is the nvlist in a token. The checksum is the first word of fletcher-4, which is a sum.
func unpackToken(text string) ([]byte, error) {
	parts := strings.Split(text, "-")
	if len(text) > tokenLimit || len(parts) != 4 || parts[0] != "1" {
		return nil, errors.New("it is not of version 1")
	}
	sum, err1 := strconv.ParseUint(parts[1], 16, 64)
	size, err2 := strconv.ParseUint(parts[2], 16, 64)
	packed, err3 := hex.DecodeString(parts[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	whole := sum
	for b := packed; len(b) >= 4; b = b[4:] {
		sum -= uint64(binary.NativeEndian.Uint32(b))
	}
	if sum != 0 || size > tokenSize || fmt.Sprintf("1-%x-%x-%x", whole, size, packed) != text {
		return nil, errors.New("its checksum or size is wrong")
	}
	rest := bytes.NewReader(packed)
	z, err := zlib.NewReader(rest)
	if err != nil {
		return nil, err
	}
	list, err := io.ReadAll(io.LimitReader(z, tokenSize+1))
	if err == nil && (uint64(len(list)) != size || rest.Len() > 0) {
		err = errors.New("its size is wrong")
	}
	return list, err
}

// An nvlist as the kernel keeps it in memory (OpenZFS, include/sys/nvpair.h): a header; version and flags; pairs, each with its
// size, the size of its name, a reserve, the number of values and their type; a size of 0.
const (
	nvTop     = 12
	nvPair    = 16
	nvBoolean = 1
	nvUint64  = 8
	nvString  = 9
)

func readToken(list []byte) (token, error) {
	var t token
	numbers := map[string]*uint64{
		"fromguid": new(uint64), "toguid": new(uint64), "object": new(uint64), "offset": new(uint64), "bytes": &t.bytes,
	}
	seen := map[string]bool{}
	err := eachPair(list, func(p pair) error {
		if seen[p.name] {
			return fmt.Errorf("%q comes twice", p.name)
		}
		seen[p.name] = true
		number, isNumber := numbers[p.name]
		switch {
		case isNumber && p.kind == nvUint64 && len(p.value) == 8:
			*number = binary.NativeEndian.Uint64(p.value)
		case p.name == "toname" && p.kind == nvString:
			name, rest, ended := bytes.Cut(p.value, []byte{0})
			if !ended || len(rest) >= 8 {
				return errors.New("its name does not end")
			}
			t.name = string(name)
		case p.kind == nvBoolean && len(p.value) == 0 && p.isPermission():
			t.raw = t.raw || p.name == "rawok"
		default:
			return fmt.Errorf("%q is not known", p.name)
		}
		return nil
	})
	t.to, t.from = guidText(*numbers["toguid"]), guidText(*numbers["fromguid"])
	if err == nil && (t.to == "" || t.name == "") {
		err = errors.New("it names no snapshot")
	}
	return t, err
}

// pair is one of an nvlist.
type pair struct {
	name  string
	kind  uint32
	value []byte // with its padding
}

// isPermission reports whether the pair says that the stream may have large blocks, and so on.
func (p pair) isPermission() bool {
	switch p.name {
	case "largeblockok", "embedok", "compressok", "rawok":
		return true
	}
	return false
}

func eachPair(list []byte, use func(pair) error) error {
	order, little := binary.NativeEndian, byte(0)
	if order.Uint16([]byte{1, 0}) == 1 {
		little = 1
	}
	if len(list) < nvTop || list[0] != 0 || list[1] != little || order.Uint32(list[4:]) != 0 {
		return errors.New("it is no native nvlist of this byte order")
	}
	for list = list[nvTop:]; len(list) >= 4; {
		size := int64(order.Uint32(list))
		if size == 0 {
			list = list[4:]
			break
		}
		if size < nvPair || size > int64(len(list)) {
			return errors.New("a pair of it is cut off")
		}
		p := list[:size]
		list = list[size:]
		name := int(order.Uint16(p[4:]))
		padded := (nvPair + name + 7) &^ 7
		if name < 2 || padded > len(p) || p[nvPair+name-1] != 0 {
			return errors.New("a name in it is cut off")
		}
		err := use(pair{string(p[nvPair : nvPair+name-1]), order.Uint32(p[12:]), p[padded:]})
		if err != nil {
			return err
		}
	}
	if len(list) > 0 {
		return errors.New("it does not end")
	}
	return nil
}
