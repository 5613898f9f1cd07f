package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// A body is a sequence of chunks: a head of four bytes, and what it says follows. In the head is the length, which is 0 for the
// end, and chunkPacked if the chunk is a zstd frame of its own. What does not get smaller goes as it is.
const (
	chunkHead   = 4
	chunkPacked = 1 << 31
	chunkAbort  = 1<<32 - 1 // instead of a length: the body has no end, and the answer follows, which says why
)

// chunkWriter writes a body. Finish ends it; without that it counts as broken.
type chunkWriter struct {
	w      io.Writer
	buf    []byte // the head and what is collected
	z      *zstd.Encoder
	packed []byte
	misses int // packed chunks that were no smaller, one after the other
	pass   int // chunks that are not tried
}

func newChunkWriter(w io.Writer) (*chunkWriter, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(chunkSize), zstd.WithEncoderCRC(false)) // ssh and the streams have sums of their own
	return &chunkWriter{w: w, buf: make([]byte, chunkHead, chunkHead+chunkSize), z: z}, err
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

// mostPassed is how many chunks go untried after some that did not get smaller: a long stream of noise costs next to nothing, and
// what comes behind it is soon found to be worth it.
const mostPassed = 15

func (c *chunkWriter) flush() error {
	data := c.buf[chunkHead:]
	out, head := c.buf, uint32(len(data))
	switch {
	case len(data) == 0:
	case c.pass > 0:
		c.pass--
	default:
		c.packed = c.z.EncodeAll(data, append(c.packed[:0], make([]byte, chunkHead)...))
		if size := len(c.packed) - chunkHead; size < len(data)-len(data)/16 {
			out, head, c.misses = c.packed, chunkPacked|uint32(size), 0
		} else {
			c.misses++
			c.pass = min(c.misses, mostPassed)
		}
	}
	binary.BigEndian.PutUint32(out, head)
	_, err := c.w.Write(out)
	c.buf = c.buf[:chunkHead]
	return err
}

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

// A body without an end.
var (
	errBroken  = errors.New("the stream broke off")
	errGivenUp = errors.New("the stream was given up")
)

// chunkReader reads a body, in bounded memory whatever comes: io.EOF after its end, errBroken or errGivenUp if it has none.
type chunkReader struct {
	r        io.Reader
	z        *zstd.Decoder
	left     uint32 // of a chunk that goes as it is
	packed   []byte
	unpacked []byte // all of a packed chunk
	rest     []byte // of it
	done     bool
}

// newChunkReader is of a body. The decoder is not closed: it has nothing but memory, and a Read may go on behind a receiver that has
// returned.
func newChunkReader(r io.Reader) (*chunkReader, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(chunkSize), zstd.WithDecoderMaxWindow(chunkSize))
	return &chunkReader{r: r, z: z}, err
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.left == 0 && len(c.rest) == 0 {
		if c.done {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	n, err := c.r.Read(p[:min(len(p), int(c.left))])
	c.left -= uint32(n)
	if n > 0 {
		return n, nil
	}
	return 0, cutOff(err)
}

// next reads the head of a chunk, and all of a packed one.
func (c *chunkReader) next() error {
	var head [chunkHead]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return cutOff(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == chunkAbort {
		return errGivenUp
	}
	packed := size&chunkPacked != 0
	if size &^= chunkPacked; size > chunkSize || packed && size == 0 {
		return fmt.Errorf("%w: a chunk of %d bytes", ErrProtocol, size)
	}
	if !packed {
		c.left, c.done = size, size == 0
		return nil
	}
	c.packed = slices.Grow(c.packed[:0], int(size))[:size]
	if _, err := io.ReadFull(c.r, c.packed); err != nil {
		return cutOff(err)
	}
	var err error
	if c.unpacked, err = c.z.DecodeAll(c.packed, c.unpacked[:0]); err != nil || len(c.unpacked) > chunkSize {
		return fmt.Errorf("%w: a chunk that unpacks to %d bytes: %w", ErrProtocol, len(c.unpacked), err)
	}
	c.rest = c.unpacked
	return nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBroken
	}
	return err
}

// broken is the error for a stream that ends where it should not.
func broken(err error) error {
	if err == io.EOF { //nolint:errorlint // io.Reader returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
