package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// chunkWriter writes a body. Finish ends it; without that it counts as broken.
type chunkWriter struct {
	w   io.Writer
	buf []byte // the head and what is collected
}

const chunkHead = 4

func newChunkWriter(w io.Writer) *chunkWriter {
	return &chunkWriter{w: w, buf: make([]byte, chunkHead, chunkHead+chunkSize)}
}

func (c *chunkWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		room := p[n:min(len(p), n+cap(c.buf)-len(c.buf))]
		c.buf = append(c.buf, room...)
		n += len(room)
		if len(c.buf) == cap(c.buf) {
			if err := c.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (c *chunkWriter) flush() error {
	binary.BigEndian.PutUint32(c.buf, uint32(len(c.buf)-chunkHead))
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:chunkHead]
	return err
}

// chunkAbort is the length of a chunk that says that the body has no end, and that the answer follows, which says why.
const chunkAbort = 1<<32 - 1

// abort gives a body up.
func (c *chunkWriter) abort() error {
	_, err := c.w.Write(binary.BigEndian.AppendUint32(nil, chunkAbort))
	return err
}

// finish writes what is left, and the end.
func (c *chunkWriter) finish() error {
	if len(c.buf) > chunkHead {
		if err := c.flush(); err != nil {
			return err
		}
	}
	return c.flush()
}

// A body without an end. These are none of the errors that a decoder takes for an end.
var (
	errBroken  = errors.New("the stream broke off")
	errGivenUp = errors.New("the stream was given up")
)

// chunkReader reads a body: io.EOF after its end, errBroken or errGivenUp if it has none.
type chunkReader struct {
	r    io.Reader
	left uint32
	done bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		var head [chunkHead]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return 0, cutOff(err)
		}
		c.left = binary.BigEndian.Uint32(head[:])
		if c.left == chunkAbort {
			c.left = 0
			return 0, errGivenUp
		}
		if c.left > chunkSize {
			return 0, fmt.Errorf("%w: a chunk of %d bytes", ErrProtocol, c.left)
		}
		c.done = c.left == 0
	}
	n, err := c.r.Read(p[:min(len(p), int(c.left))])
	c.left -= uint32(n)
	if n > 0 {
		return n, nil
	}
	return 0, cutOff(err)
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBroken
	}
	return err
}

// whole is a decoded body that is at its end only when the chunks are.
type whole struct {
	decoded io.Reader
	chunks  *chunkReader
}

func (w whole) Read(p []byte) (int, error) {
	n, err := w.decoded.Read(p)
	if err != io.EOF {
		return n, err
	}
	var more [1]byte
	switch extra, err := w.chunks.Read(more[:]); {
	case extra > 0:
		return n, fmt.Errorf("%w: the body goes on after its end", ErrProtocol)
	case err != io.EOF: //nolint:errorlint // the same
		return n, err
	}
	return n, io.EOF
}

// broken is the error for a stream that ends where it should not.
func broken(err error) error {
	if err == io.EOF { //nolint:errorlint // io.Reader returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
