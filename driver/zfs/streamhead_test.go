package zfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/volsnap/volsnap/driver"
)

// record of a stream, as OpenZFS's zfs_ioctl.h lays it out.
type beginning struct {
	order            binary.ByteOrder
	payload          uint32
	version          uint64
	objects, flags   uint32
	to, from         uint64
	name             string
	spoil, spoilWith int
}

func (b beginning) bytes() []byte {
	out := make([]byte, recordSize)
	b.order.PutUint32(out[4:], b.payload)
	b.order.PutUint64(out[8:], streamMagic)
	b.order.PutUint64(out[16:], b.version)
	b.order.PutUint32(out[32:], b.objects)
	b.order.PutUint32(out[36:], b.flags)
	b.order.PutUint64(out[40:], b.to)
	b.order.PutUint64(out[48:], b.from)
	copy(out[56:], b.name)
	if b.spoil > 0 {
		out[b.spoil] = byte(b.spoilWith)
	}
	return out
}

// good is the beginning of a plain stream, changed.
func good(change func(*beginning)) beginning {
	b := beginning{order: binary.LittleEndian, version: 1 | (1<<2|1<<22)<<2, objects: 2, flags: 4, to: 100, from: 99, name: "tank/pg@" + snapName}
	if change != nil {
		change(&b)
	}
	return b
}

// streamOf is a stream with that beginning and an end.
func streamOf(b beginning) []byte {
	end := make([]byte, recordSize)
	b.order.PutUint32(end, drrEnd)
	b.order.PutUint64(end[40:], b.to)
	return append(append(b.bytes(), bytes.Repeat([]byte("middle "), 500)...), end...)
}

func TestStreamHead(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*beginning)
		ok     bool
	}{
		{"plain", nil, true},
		{"of a host of the other byte order", func(b *beginning) { b.order = binary.BigEndian }, true},
		{"raw, with its key", func(b *beginning) { b.version |= featureRaw << 2; b.payload = 1000 }, true},
		{"with properties", func(b *beginning) { b.version = 2 | b.version&^3 }, false},
		{"of no kind", func(b *beginning) { b.version &^= 3 }, false},
		{"with holds", func(b *beginning) { b.version |= 1 << 26 << 2 }, false},
		{"deduplicated", func(b *beginning) { b.version |= 1 << 0 << 2 }, false},
		{"redacted", func(b *beginning) { b.version |= 1 << 21 << 2 }, false},
		{"with a feature of a time to come", func(b *beginning) { b.version |= 1 << 31 << 2 }, false},
		{"of a volume", func(b *beginning) { b.objects = 3 }, false},
		{"a clone of its base", func(b *beginning) { b.flags |= 1 }, true},
		{"a clone of nothing", func(b *beginning) { b.flags |= 1; b.from = 0 }, false},
		{"with a flag of somebody else", func(b *beginning) { b.flags |= 1 << 24 }, false},
		{"with a payload", func(b *beginning) { b.payload = 8 }, false},
		{"with too much of it", func(b *beginning) { b.version |= featureRaw << 2; b.payload = payloadLimit + 1 }, false},
		{"of no snapshot", func(b *beginning) { b.name = "tank/pg" }, false},
		{"with a name that does not end", func(b *beginning) { b.name = strings.Repeat("a@", 128) }, false},
		{"that makes another", func(b *beginning) { b.to = 101 }, false},
		{"that makes nothing", func(b *beginning) { b.to = 0 }, false},
		{"on top of another", func(b *beginning) { b.from = 98 }, false},
		{"of all", func(b *beginning) { b.from = 0 }, false},
		{"that goes on", func(b *beginning) { b.version |= featureResuming << 2 }, false},
		{"no beginning", func(b *beginning) { b.spoil, b.spoilWith = 0+1, 9 }, false},
		{"no magic", func(b *beginning) { b.spoil, b.spoilWith = 9, 1 }, false},
	} {
		in := streamOf(good(tc.change))
		s, err := begun(bytes.NewReader(in), "100", "99", false)
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, driver.ErrBadStream) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err != nil {
			continue
		}
		if out, err := readAll(s); err != nil || !bytes.Equal(out, in) || !s.whole || s.why() != nil {
			t.Errorf("%s: %d of %d bytes, %v", tc.name, len(out), len(in), err)
		}
	}
}

// TestStreamEnd: the last record is not passed on before the line has said that it is the last.
func TestStreamEnd(t *testing.T) {
	whole := streamOf(good(nil))
	errLine := errors.New("the line is broken")
	for _, tc := range []struct {
		name string
		in   io.Reader
		want error
	}{
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(whole)), nil},
		{"with its end", iotest.DataErrReader(bytes.NewReader(whole)), nil},
		{"broken at its end", io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(errLine)), errLine},
		{"broken before", io.MultiReader(bytes.NewReader(whole[:700]), iotest.ErrReader(errLine)), errLine},
		{"ended early", bytes.NewReader(whole[:len(whole)-1]), io.ErrUnexpectedEOF},
		{"ended after its beginning", bytes.NewReader(whole[:recordSize]), io.ErrUnexpectedEOF},
		{"with a byte behind it", bytes.NewReader(append(bytes.Clone(whole), 0)), io.ErrUnexpectedEOF},
	} {
		s, err := begun(tc.in, "100", "99", false)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		out, err := readAll(s)
		if !errors.Is(err, tc.want) || !errors.Is(s.why(), tc.want) || s.whole != (tc.want == nil) {
			t.Errorf("%s: %v, %v, whole %t", tc.name, err, s.why(), s.whole)
		}
		if !bytes.HasPrefix(whole, out) || tc.want == nil && len(out) != len(whole) || tc.want != nil && len(out) > len(whole)-recordSize+1 {
			t.Errorf("%s: %d of %d bytes are passed on", tc.name, len(out), len(whole))
		}
	}
	for _, n := range []int{0, 1, recordSize - 1} {
		if _, err := begun(bytes.NewReader(whole[:n]), "100", "99", false); !errors.Is(err, driver.ErrBadStream) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// readAll reads with room for many records at a time, as io.Copy does.
func readAll(r io.Reader) ([]byte, error) {
	var out bytes.Buffer
	_, err := io.Copy(struct{ io.Writer }{&out}, struct{ io.Reader }{r})
	return out.Bytes(), err
}

func TestSenderChecksTheHead(t *testing.T) {
	raw := func(b *beginning) { b.version |= featureRaw << 2 }
	for _, tc := range []struct {
		name   string
		change func(*beginning)
		check  headCheck
		ok     bool
	}{
		{"as asked for", nil, headCheck{guid: "100", base: "99"}, true},
		{"raw", raw, headCheck{guid: "100", base: "99", raw: true}, true},
		{"decrypted", nil, headCheck{guid: "100", base: "99", raw: true}, false},
		{"raw, of what is not encrypted", raw, headCheck{guid: "100", base: "99"}, false},
		{"another", nil, headCheck{guid: "101", base: "99"}, false},
		{"another base", nil, headCheck{guid: "100"}, false},
		{"the rest alone", func(b *beginning) { b.version |= featureResuming << 2 }, headCheck{guid: "100", base: "99"}, false},
		{"not the rest", nil, headCheck{guid: "100", base: "99", resumed: true}, false},
	} {
		in := streamOf(good(tc.change))
		for _, size := range []int{1, 300, 1 << 20} {
			var out bytes.Buffer
			h := tc.check
			h.w = &out
			_, err := io.CopyBuffer(struct{ io.Writer }{&h}, struct{ io.Reader }{bytes.NewReader(in)}, make([]byte, size))
			if tc.ok != (err == nil) || tc.ok && !bytes.Equal(out.Bytes(), in) || !tc.ok && out.Len() > 0 {
				t.Errorf("%s, %d at a time: %v, %d bytes", tc.name, size, err, out.Len())
			}
			if err != nil && !errors.Is(err, driver.ErrForeign) {
				t.Errorf("%s: %v, want ErrForeign", tc.name, err)
			}
		}
	}
}

// FuzzStreamHead: what passes is plain, and nothing of the rest is made up.
func FuzzStreamHead(f *testing.F) {
	f.Add(good(nil).bytes())
	f.Add(good(func(b *beginning) { b.order = binary.BigEndian }).bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(b)
		if err != nil || h.plain() != nil {
			return
		}
		if h.kind != substream || h.objects != fileSystemS || h.clone() && h.from == "" || !validGUID(h.to) || h.from != "" && !validGUID(h.from) {
			t.Fatalf("%+v is plain", h)
		}
		s, err := begun(bytes.NewReader(b), h.to, h.from, h.resuming())
		if err != nil {
			t.Fatal(err)
		}
		if out, err := readAll(s); err == nil || len(out) > 0 {
			t.Fatalf("%d bytes, %v", len(out), err)
		}
	})
}
