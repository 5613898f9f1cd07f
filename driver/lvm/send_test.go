package lvm

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

// model is a thin volume as a pool has it: blocks that are mapped, by where they lie and what they hold.
type model struct {
	size   int64
	blocks map[uint64]content
}

type content struct {
	place int
	data  []byte
}

const modelBlock = 64 << 10

// text is what the device reads.
func (m model) text() []byte {
	out := make([]byte, m.size)
	for n, c := range m.blocks {
		if at := int64(n) * modelBlock; at < m.size {
			copy(out[at:], c.data)
		}
	}
	return out
}

// between is what thin_delta says of two volumes.
func between(old, now model) delta {
	d := delta{block: modelBlock}
	for n := range uint64(64) {
		a, had := old.blocks[n]
		b, has := now.blocks[n]
		r := run{begin: n, length: 1}
		switch {
		case !had && !has:
			continue
		case !had:
			r.is = added
		case !has:
			r.is = gone
		case a.place == b.place:
			r.is = shared
		default:
			r.is = changed
		}
		if k := len(d.runs); k > 0 && d.runs[k-1].is == r.is && d.runs[k-1].begin+d.runs[k-1].length == n {
			d.runs[k-1].length++
			continue
		}
		d.runs = append(d.runs, r)
	}
	return d
}

// draw changes some blocks of a volume, and its size.
func (m model) draw(t *rapid.T, place *int) model {
	out := model{size: 4096 * rapid.Int64Range(1, 200).Draw(t, "size"), blocks: map[uint64]content{}}
	for n, c := range m.blocks {
		out.blocks[n] = c
	}
	for range rapid.IntRange(0, 12).Draw(t, "changes") {
		n := rapid.Uint64Range(0, 12).Draw(t, "block")
		if int64(n)*modelBlock >= out.size {
			continue // only what is there can be written to
		}
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			delete(out.blocks, n)
			continue
		case 1:
			*place++
			out.blocks[n] = content{*place, make([]byte, modelBlock)}
			continue
		}
		*place++
		c := content{*place, make([]byte, modelBlock)}
		copy(c.data, out.blocks[n].data)
		at := 512 * rapid.IntRange(0, modelBlock/512-1).Draw(t, "at")
		_, _ = rand.NewChaCha8([32]byte{byte(*place)}).Read(c.data[at:min(at+8192, modelBlock)])
		out.blocks[n] = c
	}
	return out
}

// file is a file that holds what a device reads.
func file(t *rapid.T, dir, name string, m model) *part {
	at := filepath.Join(dir, name)
	if err := os.WriteFile(at, m.text(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	return &part{f: f, size: m.size}
}

// A stream of what thin_delta says makes of the base what the newer volume holds, whatever was written, given up, grown or cut off.
func TestExtractedStreamMakesTheVolume(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		place := 0
		old := model{}.draw(t, &place)
		now := old.draw(t, &place)
		for n := range now.blocks { // what was cut off and is there again reads as it did: LVM gives nothing up
			if int64(n)*modelBlock >= now.size && rapid.Bool().Draw(t, "given up") {
				delete(now.blocks, n)
			}
		}
		src := &source{snap: *file(t, dir, "now", now)}
		head := stream.Head{GUID: own, Size: now.size, Block: modelBlock}
		d := between(now, now)
		replica := make([]byte, now.size)
		if rapid.Bool().Draw(t, "on a base") {
			src.base, head.Base, d = file(t, dir, "old", old), origin, between(old, now)
			copy(replica, old.text()) // and zeros behind it, as a place makes them
			defer func() { _ = src.base.f.Close() }()
		}
		defer func() { _ = src.snap.f.Close() }()
		var out bytes.Buffer
		w, err := stream.NewWriter(&out, head, stream.Position{})
		if err := errors.Join(err, src.write(t.Context(), d, w), w.Close()); err != nil {
			t.Fatal(err)
		}
		apply(t, &out, replica)
		if !bytes.Equal(replica, now.text()) {
			t.Fatal("the replica is not what was sent")
		}
	})
}

func apply(t *rapid.T, in io.Reader, to []byte) {
	r := stream.NewReader(in)
	if _, err := r.Head(); err != nil {
		t.Fatal(err)
	}
	for {
		one, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if one.Kind == stream.Data {
			copy(to[one.Offset:], one.Data)
		} else {
			clear(to[one.Offset : one.Offset+one.Length])
		}
	}
}
