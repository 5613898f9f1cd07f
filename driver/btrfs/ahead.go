package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
)

const (
	chunks    = 4 // read ahead
	chunkSize = 256 << 10
)

// readAhead reads from r while what was read before is worked on, and lets go when ctx ends, also of an r that blocks. The
// caller must call stop. One Read of r may go on behind it; it ends with r.
func readAhead(ctx context.Context, r io.Reader) (ahead io.Reader, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	a := &reader{ctx: ctx, full: make(chan chunk, chunks), empty: make(chan []byte, chunks)}
	for range chunks {
		a.empty <- make([]byte, chunkSize)
	}
	go a.run(r)
	return a, cancel
}

type chunk struct {
	data []byte
	err  error
}

type reader struct {
	ctx   context.Context
	full  chan chunk
	empty chan []byte
	now   chunk  // what is left of the one that is being read
	buf   []byte // of the one that is being read
}

func (a *reader) run(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-a.empty:
		case <-a.ctx.Done():
			return
		}
		n, err := r.Read(buf)
		a.full <- chunk{buf[:n], err} // there is room for all chunks that there are
		if err != nil {
			return
		}
	}
}

func (a *reader) Read(p []byte) (int, error) {
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

// streamError is what became of a stream: what the storage could not do is the storage's, all else the stream's. The errno is
// not wrapped in a bad stream: that a path of it does not exist is not that the replica does not.
func streamError(ctx context.Context, err error) error {
	var e unix.Errno
	own := []unix.Errno{unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EUCLEAN, unix.ENOSYS}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, driver.ErrStale):
		return err
	case errors.Is(err, stream.ErrBad) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)):
		return classify(err) // the spool's
	case errors.Is(err, stream.ErrBad):
		return fmt.Errorf("%w: %w", driver.ErrBadStream, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return classify(err)
	case errors.As(err, &e):
		for _, one := range own {
			if e == one {
				return err
			}
		}
	}
	return fmt.Errorf("%w: %s", driver.ErrBadStream, err.Error())
}
