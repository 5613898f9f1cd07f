package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

// realToken was printed by `zfs receive -s` of OpenZFS on x86-64.
const realToken = "1-12160b1454-118-789c636064000310a501c49c50360710a715e5e7a69766a6304081743457d44629f3530a40363b92bafca4acd4e412081f0430e4d3d2" +
	"8a534b18e00024cf86249f5459925acc802a8facbf241fe28acba2afa6fe89f9c39a8024cf0996cf4bcc4d6560284ecd4bd1071a55a29f63106fa09f63186fa89f" +
	"63146fec505c99979c9f99129f5f94999f176f646064aa6b60a46b64626508446656c696baeebe21ba0666560606303700000d212c45"

// nv is an nvlist under construction.
type nv struct{ bytes.Buffer }

func newNV() *nv {
	n := &nv{}
	n.Write([]byte{0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	return n
}

func (n *nv) pair(kind uint32, name string, value []byte) *nv {
	padded := func(b []byte, from int) []byte { return append(b, make([]byte, (8-(len(b)+from)%8)%8)...) }
	named := padded(append([]byte(name), 0), nvPair)
	value = padded(value, 0)
	var head [nvPair]byte
	binary.LittleEndian.PutUint32(head[:], uint32(nvPair+len(named)+len(value)))
	binary.LittleEndian.PutUint16(head[4:], uint16(len(name)+1))
	binary.LittleEndian.PutUint32(head[8:], 1)
	binary.LittleEndian.PutUint32(head[12:], kind)
	n.Write(head[:])
	n.Write(named)
	n.Write(value)
	return n
}

func (n *nv) number(name string, value uint64) *nv {
	return n.pair(nvUint64, name, binary.LittleEndian.AppendUint64(nil, value))
}

func (n *nv) token() string {
	n.Write(make([]byte, 4))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(n.Bytes())
	_ = z.Close()
	sum := uint64(0)
	for b := packed.Bytes(); len(b) >= 4; b = b[4:] {
		sum += uint64(binary.LittleEndian.Uint32(b))
	}
	return fmt.Sprintf("1-%x-%x-%x", sum, n.Len(), packed.Bytes())
}

func littleEndian(t testing.TB) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("tokens are in the byte order of the host")
	}
}

func sampleToken() *nv {
	return newNV().number("fromguid", 99).number("object", 3).number("offset", 0).number("bytes", 4096).number("toguid", 100).
		pair(nvString, "toname", []byte("tank/pg@"+snapName+"\x00")).pair(nvBoolean, "compressok", nil)
}

func TestToken(t *testing.T) {
	littleEndian(t)
	for name, tc := range map[string]struct {
		text string
		want token
	}{
		"real":      {realToken, token{to: "431321904237385171", from: "14571144468402690843", name: "send/test/l0_0/l1_1/l2_3@syncoid_orion_2025-02-24:14:16:39-GMT-06:00"}},
		"increment": {sampleToken().token(), token{to: "100", from: "99", name: "tank/pg@" + snapName, bytes: 4096}},
		"raw":       {sampleToken().pair(nvBoolean, "rawok", nil).token(), token{to: "100", from: "99", name: "tank/pg@" + snapName, bytes: 4096, raw: true}},
	} {
		got, err := parseToken(tc.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(token{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestTokenRefuses: `zfs send -t` does what a token says, and the target chooses the token.
func TestTokenRefuses(t *testing.T) {
	littleEndian(t)
	good := sampleToken().token()
	for name, text := range map[string]string{
		"nothing": "", "garbage": "1-2-3", "a path": "../../../etc/passwd", "version 2": "2" + good[1:], "more": good + "00", "part": good[:len(good)-2],
		"a checksum of another": "1-1" + good[2:], "upper case": "1-" + "0" + good[2:], "an option": "-R",
		"redacted":              sampleToken().number("redact_snaps", 1).token(),
		"a field of a later":    sampleToken().pair(nvBoolean, "propsok", nil).token(),
		"a number as a flag":    sampleToken().number("rawok", 1).token(),
		"a GUID twice":          sampleToken().number("toguid", 101).token(),
		"a name twice":          sampleToken().pair(nvString, "toname", []byte("tank/other@x\x00")).token(),
		"no GUID":               newNV().pair(nvString, "toname", []byte("a@b\x00")).token(),
		"no name":               newNV().number("toguid", 1).token(),
		"a name without an end": newNV().number("toguid", 1).pair(nvString, "toname", []byte("tank/pg@")).token(),
		"a name behind its end": newNV().number("toguid", 1).pair(nvString, "toname", []byte("a@b\x00........")).token(),
		"too much":              sampleToken().pair(nvString, "toname", make([]byte, tokenSize)).token(),
	} {
		if got, err := parseToken(text); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	req := driver.SendRequest{Snapshot: driver.Snapshot{GUID: "100", Name: "tank/pg@" + snapName}, Base: &driver.Snapshot{GUID: "99"}, Resume: good}
	if err := checkToken(req, false); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*driver.SendRequest){
		"another snapshot": func(r *driver.SendRequest) { r.Snapshot.GUID = "101" },
		"another name":     func(r *driver.SendRequest) { r.Snapshot.Name = "tank/x@" + snapName },
		"another base":     func(r *driver.SendRequest) { r.Base = &driver.Snapshot{GUID: "98"} },
		"no base":          func(r *driver.SendRequest) { r.Base = nil },
	} {
		bad := req
		spoil(&bad)
		if checkToken(bad, false) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if checkToken(req, true) == nil {
		t.Error("a token that would decrypt was accepted")
	}
}

func FuzzToken(f *testing.F) {
	f.Add(sampleToken().Bytes())
	f.Add(sampleToken().pair(nvBoolean, "rawok", nil).Bytes())
	f.Fuzz(func(t *testing.T, list []byte) {
		if got, err := readToken(list); err == nil && (!validGUID(got.to) || got.from != "" && !validGUID(got.from) || got.name == "") {
			t.Fatalf("%+v", got)
		}
		n := &nv{}
		n.Write(list)
		_, _ = parseToken(n.token())
		_, _ = parseToken(string(list))
	})
}
