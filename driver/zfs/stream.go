package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/volsnap/volsnap/driver"
)

// copySize is how much is read from a line at a time.
const copySize = 256 << 10

// letGo reads from r until ctx ends, also while r blocks. The caller must call stop. One Read of r may go on behind it, until r
// is closed.
func letGo(ctx context.Context, r io.Reader) (in io.Reader, stop func()) {
	out, into := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(into, struct{ io.Reader }{r}, make([]byte, copySize))
		_ = into.CloseWithError(err) // nil: the end
	}()
	done := context.AfterFunc(ctx, func() { _ = out.CloseWithError(ctx.Err()) })
	return out, func() {
		done()
		_ = out.Close()
	}
}

// arriving is a stream whose first record was read and found to be what was announced. It passes its last record on only
// after the stream has come to its end: until then `zfs receive` cannot have made a snapshot of it.
type arriving struct {
	head
	in   io.Reader
	tail []byte // read, and not passed on
	err  error  // of in, to be told when tail is passed on

	whole bool // all of it was passed on
	mu    sync.Mutex
	broke error // see why
}

// why is what the line broke with, or that the stream ended early; nil if it did not. It may be asked for while Read is running.
func (a *arriving) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broke
}

// begun reads the first record of a stream.
func begun(in io.Reader, guid, base string, resumed bool) (*arriving, error) {
	first := make([]byte, recordSize)
	if _, err := io.ReadFull(in, first); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%w: %w", driver.ErrBadStream, err)
	}
	h, err := parseHead(first)
	if err == nil {
		err = errors.Join(h.plain(), h.makes(guid, base))
	}
	if err == nil && h.resuming() != resumed {
		err = fmt.Errorf("that it goes on with a broken one is %t", h.resuming())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrBadStream, err)
	}
	return &arriving{head: h, in: in, tail: first}, nil
}

// Read implements io.Reader. p has room for more than two records.
func (a *arriving) Read(p []byte) (int, error) {
	if len(p) <= 2*recordSize {
		return 0, io.ErrShortBuffer
	}
	for a.err == nil {
		n := copy(p, a.tail)
		got, err := a.in.Read(p[n:])
		n += got
		a.err = err
		keep := min(n, recordSize)
		a.tail = append([]byte(nil), p[n-keep:n]...)
		if n > keep {
			return n - keep, nil
		}
	}
	return a.last(p)
}

// last passes the last record on, if it is one.
func (a *arriving) last(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.whole:
		return 0, io.EOF
	case !errors.Is(a.err, io.EOF):
		a.broke = a.err
	case !a.ends(a.tail):
		a.broke = io.ErrUnexpectedEOF
	default:
		a.whole = true
		return copy(p, a.tail), nil
	}
	return 0, a.broke
}
