package stream_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
	st "github.com/volsnap/volsnap/driver/btrfs/internal/streamtest"
)

const (
	uuidA = "0f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	uuidB = "1f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
)

// readAll reads a stream to its end.
func readAll(r io.Reader) (stream.Head, []stream.Command, error) {
	in := stream.NewReader(r)
	head, err := in.Head()
	if err != nil {
		return head, nil, err
	}
	var all []stream.Command
	for {
		c, err := in.Next()
		if errors.Is(err, io.EOF) {
			return head, all, nil
		}
		if err != nil {
			return head, all, err
		}
		c.Data = bytes.Clone(c.Data)
		all = append(all, c)
	}
}

// good has each command once.
func good() []byte {
	return st.Step(uuidA, uuidB,
		st.Command(3, st.Text(15, "f"), st.U64(3, 257)),
		st.Command(4, st.Text(15, "d\n")),
		st.Command(5, st.Text(15, "d\n/null"), st.U64(5, 0o20600), st.U64(8, 0x103)),
		st.Command(6, st.Text(15, "fifo")),
		st.Command(7, st.Text(15, "socket")),
		st.Command(8, st.Text(15, "link"), st.Text(17, "../../etc")),
		st.Command(9, st.Text(15, "f"), st.Text(16, "d\n/..f")),
		st.Command(10, st.Text(15, "g"), st.Text(17, "d\n/..f")),
		st.Command(11, st.Text(15, "g")),
		st.Command(12, st.Text(15, "h")),
		st.Command(13, st.Text(15, ""), st.Text(13, "user.a"), st.Text(14, "v\x00")),
		st.Command(14, st.Text(15, "f"), st.Text(13, "user.a")),
		st.Command(15, st.Text(15, "f"), st.U64(18, 5), st.Text(19, "data")),
		st.Command(16, st.Text(15, "f"), st.U64(18, 5), st.U64(24, 4096), st.UUID(20, uuidB), st.U64(21, 1), st.Text(22, "g"), st.U64(23, 9)),
		st.Command(17, st.Text(15, "f"), st.U64(4, 77)),
		st.Command(18, st.Text(15, ""), st.U64(5, 0o755)),
		st.Command(19, st.Text(15, "f"), st.U64(6, 1), st.U64(7, 2)),
		st.Command(20, st.Text(15, "f"), st.Time(11, 1), st.Time(10, -2), st.Time(9, 3)),
	)
}

func TestReader(t *testing.T) {
	head, all, err := readAll(iotest.OneByteReader(bytes.NewReader(good())))
	if err != nil {
		t.Fatal(err)
	}
	if head.UUID.String() != uuidA || head.Base.String() != uuidB || head.Version != 1 || head.Transid != 8 || head.BaseTransid != 7 {
		t.Errorf("head %+v", head)
	}
	if len(all) != 18 {
		t.Fatalf("%d commands", len(all))
	}
	if c := all[12]; c.Op != stream.Write || c.Path != "f" || c.Offset != 5 || string(c.Data) != "data" {
		t.Errorf("write %+v", c)
	}
	if c := all[13]; c.Op != stream.Clone || c.Size != 4096 || c.From.String() != uuidB || c.FromPath != "g" || c.FromOffset != 9 {
		t.Errorf("clone %+v", c)
	}
	if c := all[17]; c.Edited.Unix() != -2 || c.Accessed.Unix() != 1 {
		t.Errorf("utimes %+v", c)
	}
	if c := all[7]; c.To != "d\n/..f" || c.Path != "g" {
		t.Errorf("link %+v", c)
	}
}

// TestEveryByteCounts: no stream that was cut, or has one bit flipped, passes for whole.
func TestEveryByteCounts(t *testing.T) {
	whole := good()
	for i := range whole {
		if _, _, err := readAll(bytes.NewReader(whole[:i])); !errors.Is(err, stream.ErrBad) {
			t.Errorf("cut at %d: %v", i, err)
		}
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if _, _, err := readAll(bytes.NewReader(bad)); !errors.Is(err, stream.ErrBad) {
			t.Errorf("bit %d of byte %d flipped: %v", i%8, i, err)
		}
	}
	broken := errors.New("broken")
	if _, _, err := readAll(io.MultiReader(bytes.NewReader(whole[:99]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("%v, want the reader's error", err)
	}
}

func TestRefused(t *testing.T) {
	write := func(attrs ...st.Attr) []byte { return st.Stream(uuidA, st.Command(15, attrs...)) }
	path, offset, data := st.Text(15, "f"), st.U64(18, 0), st.Text(19, "x")
	tests := map[string][]byte{
		"nothing":                    nil,
		"another magic":              append([]byte("btrfs-strEam\x00\x01\x00\x00\x00"), good()[17:]...),
		"version 0":                  slices.Concat(st.Header(0), good()[17:]),
		"version 3":                  slices.Concat(st.Header(3), good()[17:]),
		"begins with a file":         slices.Concat(st.Header(1), st.Command(3, path), st.End()),
		"begins with the end":        slices.Concat(st.Header(1), st.End()),
		"two subvolumes":             st.Stream(uuidA, st.Subvol("t", uuidB)),
		"a second snapshot":          st.Stream(uuidA, st.Snapshot("t", uuidB, uuidA)),
		"something after the end":    append(good(), 0),
		"a stream after the end":     append(good(), good()...),
		"no end":                     slices.Concat(st.Header(1), st.Subvol("s", uuidA)),
		"zero UUID":                  st.Stream("00000000-0000-0000-0000-000000000000"),
		"short UUID":                 st.Stream("0f3c"),
		"its own base":               st.Step(uuidA, uuidA),
		"zero base":                  st.Step(uuidA, "00000000-0000-0000-0000-000000000000"),
		"subvolume name that climbs": slices.Concat(st.Header(1), st.Subvol("../s", uuidA), st.End()),
		"huge command":               slices.Concat(st.Header(1), st.Subvol("s", uuidA), []byte("\xff\xff\xff\xff\x0f\x00abcd")),
		"large for version 1":        write(path, offset, st.Text(19, strings.Repeat("x", 65000)), st.Text(14, strings.Repeat("x", 1000))),
		"unknown command":            st.Stream(uuidA, st.Command(99, path)),
		"command 0":                  st.Stream(uuidA, st.Command(0, path)),
		"of version 2":               st.Stream(uuidA, st.Command(25, path, offset, st.U64(27, 1), st.U64(28, 1), st.U64(29, 0), data)),
		"without data":               st.Stream(uuidA, st.Command(22, path, offset, st.U64(4, 1))),
		"attribute missing":          write(path, data),
		"attribute twice":            write(path, path, offset, data),
		"attribute 0":                write(st.Text(0, "x"), path, offset, data),
		"attribute 999":              write(st.Text(999, "x"), path, offset, data),
		"offset of 4 bytes":          write(path, st.U32(18, 0), data),
		"attribute cut off":          st.Stream(uuidA, st.Raw(15, []byte{15, 0, 200, 0, 'f'})),
		"attribute header cut off":   st.Stream(uuidA, st.Raw(15, []byte{15})),
		"attribute length cut off":   st.Stream(uuidA, st.Raw(15, []byte{15, 0, 1})),
		"empty target":               st.Stream(uuidA, st.Command(8, path, st.Text(17, ""))),
		"target with a zero":         st.Stream(uuidA, st.Command(8, path, st.Text(17, "a\x00b"))),
		"rename to a climbing path":  st.Stream(uuidA, st.Command(9, path, st.Text(16, "../f"))),
		"link to an absolute path":   st.Stream(uuidA, st.Command(10, path, st.Text(17, "/etc/passwd"))),
		"clone of a climbing path": st.Stream(uuidA, st.Command(16, path, offset, st.U64(24, 1), st.UUID(20, uuidA), st.U64(21, 1),
			st.Text(22, "../f"), st.U64(23, 0))),
		"xattr without a name": st.Stream(uuidA, st.Command(13, path, st.Text(13, ""), st.Text(14, "v"))),
		"xattr with a zero":    st.Stream(uuidA, st.Command(13, path, st.Text(13, "user.\x00"), st.Text(14, "v"))),
		"file at the top":      st.Stream(uuidA, st.Command(3, st.Text(15, ""))),
		"top removed":          st.Stream(uuidA, st.Command(12, st.Text(15, ""))),
	}
	for _, p := range []string{"/", "/f", "..", "../f", "a/../b", "a/..", ".", "./a", "a/.", "a//b", "a/", "\x00", "a\x00b", strings.Repeat("x", 256), strings.Repeat("x/", 2048) + "x"} {
		tests["path "+p] = write(st.Text(15, p), offset, data)
	}
	for name, text := range tests {
		if _, _, err := readAll(bytes.NewReader(text)); !errors.Is(err, stream.ErrBad) {
			t.Errorf("%q: %v, want ErrBad", name, err)
		}
	}
}

// TestVersion2 has data without a length, and compressed data.
func TestVersion2(t *testing.T) {
	body := st.Command(15, st.Text(15, "f"), st.U64(18, 0))[10:]
	body = append(append(body, 19, 0), bytes.Repeat([]byte("x"), 100_000)...)
	encoded := st.Command(25, st.Text(15, "f"), st.U64(18, 4096), st.U64(27, 1), st.U64(28, 2), st.U64(29, 3), st.U32(30, 2))[10:]
	encoded = append(append(encoded, 19, 0), "zstd"...)
	text := slices.Concat(st.Header(2), st.Subvol("s", uuidA), st.Raw(15, body), st.Raw(25, encoded),
		st.Command(23, st.Text(15, "f"), st.U32(25, 3), st.U64(18, 1), st.U64(4, 2)), st.End())
	head, all, err := readAll(bytes.NewReader(text))
	if err != nil || head.Version != 2 || len(all) != 3 {
		t.Fatalf("%+v, %d commands, %v", head, len(all), err)
	}
	if c := all[0]; len(c.Data) != 100_000 {
		t.Errorf("%d bytes", len(c.Data))
	}
	if c := all[1]; string(c.Data) != "zstd" || c.FileLen != 1 || c.Len != 2 || c.Skip != 3 || c.Compression != 2 {
		t.Errorf("%+v", c)
	}
	if c := all[2]; c.Mode != 3 || c.Offset != 1 || c.Size != 2 {
		t.Errorf("%+v", c)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(good())
	f.Add(st.Stream(uuidA))
	f.Add([]byte("btrfs-stream\x00\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, all, err := readAll(bytes.NewReader(text))
		if err != nil && !errors.Is(err, stream.ErrBad) {
			t.Fatal(err)
		}
		for _, c := range all {
			for _, p := range []string{c.Path, c.FromPath} {
				if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") || strings.Contains(p, "\x00") {
					t.Errorf("%s: %q", c.Op, p)
				}
			}
		}
	})
}

// FuzzCommand mends the checksums, so that what is behind them is reached.
func FuzzCommand(f *testing.F) {
	f.Add(uint16(15), st.Command(15, st.Text(15, "f"), st.U64(18, 0), st.Text(19, "x"))[10:], true)
	f.Add(uint16(9), st.Command(9, st.Text(15, "f"), st.Text(16, "../x"))[10:], false)
	f.Fuzz(func(t *testing.T, op uint16, body []byte, second bool) {
		version := uint32(1)
		if second {
			version = 2
		}
		text := slices.Concat(st.Header(version), st.Subvol("s", uuidA), st.Raw(op, body), st.End())
		_, all, err := readAll(bytes.NewReader(text))
		if err != nil && !errors.Is(err, stream.ErrBad) {
			t.Fatal(err)
		}
		for _, c := range all {
			for _, p := range []string{c.Path, c.FromPath} {
				if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") || strings.Contains(p, "\x00") {
					t.Errorf("%s: %q", c.Op, p)
				}
			}
		}
	})
}
