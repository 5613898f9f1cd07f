package lvm

import (
	"context"
	"io"
)

const (
	aheadChunks = 4
	aheadSize   = 256 << 10
)

// readAhead reads from r, while what was read before is written, and lets go when ctx ends, also of an r that blocks. The caller
// must call stop. One Read of r may go on behind it; it ends with r.
func readAhead(ctx context.Context, r io.Reader) (ahead io.Reader, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	a := &aheadReader{ctx: ctx, full: make(chan aheadChunk, aheadChunks), empty: make(chan []byte, aheadChunks)}
	for range aheadChunks {
		a.empty <- make([]byte, aheadSize)
	}
	go a.run(r)
	return a, cancel
}

type aheadChunk struct {
	data []byte
	err  error
}

type aheadReader struct {
	ctx   context.Context
	full  chan aheadChunk
	empty chan []byte
	now   aheadChunk // what is left of the one that is being read
	buf   []byte     // of the one that is being read
}

func (a *aheadReader) run(r io.Reader) {
	for {
		select {
		case <-a.ctx.Done():
			return
		case buf := <-a.empty:
			n, err := r.Read(buf)
			a.full <- aheadChunk{buf[:n], err} // there is room for all chunks that there are
			if err != nil {
				return
			}
		}
	}
}

func (a *aheadReader) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.buf != nil {
			a.empty <- a.buf
			a.buf = nil
		}
		select {
		case a.now = <-a.full:
			a.buf = a.now.data[:0:cap(a.now.data)]
			a.buf = a.buf[:cap(a.buf)]
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}
