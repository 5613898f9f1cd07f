package transport_test

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// sink is a place that throws away what it is sent.
type sink struct{ driver.Receiver }

func (sink) Kind() string { return "fake" }

func (sink) Receive(_ context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	_, err := io.Copy(struct{ io.Writer }{io.Discard}, r)
	return req.Snapshot, err
}

// BenchmarkStream is both ends of a connection in one process, with what cannot be compressed and what can.
func BenchmarkStream(b *testing.B) {
	noise := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	text := make([]byte, 64<<20)
	for i := range text {
		text[i] = noise[i%4096+i/4096] & 0x1f
	}
	for name, data := range map[string][]byte{"noise": noise, "text": text} {
		b.Run(name, func(b *testing.B) {
			place := &replicate.Place{Receivers: []driver.Receiver{sink{}}, Store: snapset.Store{Dir: b.TempDir()}}
			c := transporttest.Connect(b, transport.Served{Place: place})
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := c.Receive(b.Context(), driver.ReceiveRequest{Snapshot: member(1, 1)}, &pieces{data}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// pieces is read as a pipe is.
type pieces struct{ left []byte }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 64<<10)], p.left)
	p.left = p.left[n:]
	return n, nil
}
