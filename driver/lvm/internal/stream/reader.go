package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads one stream.
type Reader struct {
	r     *bufio.Reader
	head  Head
	at    Position
	buf   []byte
	ended bool
}

// NewReader reads from r, and ahead of what it hands out.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, buffer)} }

// Head reads the header. It must be called once, before Next.
func (r *Reader) Head() (Head, error) {
	text := make([]byte, headSize)
	if err := r.full(text); err != nil {
		return Head{}, fmt.Errorf("header: %w", err)
	}
	rest, ok := bytes.CutPrefix(text, []byte(magic))
	if v := binary.LittleEndian.Uint32(rest); !ok || v != version {
		return Head{}, fmt.Errorf("%w: it begins with %q", ErrBad, text[:len(magic)+4])
	}
	rest = rest[4:]
	h := Head{
		GUID: string(rest[:uuidSize]), Base: string(bytes.TrimRight(rest[uuidSize:2*uuidSize], "\x00")),
		Size: int64(binary.LittleEndian.Uint64(rest[2*uuidSize:])), Block: int64(binary.LittleEndian.Uint64(rest[2*uuidSize+8:])),
	}
	if err := h.check(); err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	want, sum := h.encode()
	if !bytes.Equal(text, want) {
		return Head{}, fmt.Errorf("%w: the header is damaged", ErrBad)
	}
	r.head = h
	r.at.sum = sum
	return h, nil
}

// GoOn says that the records that follow are those after a position of a stream with the same header, which the caller has
// kept. It is called after Head.
func (r *Reader) GoOn(from Position) { r.at = from }

// Next is the next record, whose data is valid until the next call. io.EOF comes once the stream has ended as it has to.
func (r *Reader) Next() (Record, error) {
	if r.ended {
		return Record{}, io.EOF
	}
	one, sum, err := r.start()
	if err != nil {
		return Record{}, err
	}
	if one.Kind == Data {
		if err := r.data(&one); err != nil {
			return Record{}, err
		}
	}
	after := r.at.after(one)
	if !bytes.Equal(after.sum[:], sum) {
		return Record{}, fmt.Errorf("%w: record %d is damaged", ErrBad, r.at.Records+1)
	}
	if one.Kind != end {
		r.at = after
		return one, nil
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return Record{}, r.behind(err)
	}
	r.ended = true
	return Record{}, io.EOF
}

// start reads what comes before the data of a record.
func (r *Reader) start() (Record, []byte, error) {
	head := make([]byte, recordStart)
	if err := r.full(head); err != nil {
		return Record{}, nil, fmt.Errorf("record %d: %w", r.at.Records+1, err)
	}
	one := Record{
		Kind: Kind(head[0]), Offset: int64(binary.LittleEndian.Uint64(head[8:])), Length: int64(binary.LittleEndian.Uint64(head[16:])),
	}
	again := one.encode()
	if !bytes.Equal(again[:], head[:recordHead]) {
		return Record{}, nil, fmt.Errorf("%w: record %d begins with %x", ErrBad, r.at.Records+1, head[:8])
	}
	sum := head[recordHead:]
	if one.Kind == end {
		if want := r.at.last(); one.Offset != want.Offset || one.Length != want.Length {
			return Record{}, nil, fmt.Errorf("%w: it ends after %d records and %d bytes, and says %d and %d",
				ErrBad, want.Offset, want.Length, one.Offset, one.Length)
		}
		return one, sum, nil
	}
	if err := r.at.fits(r.head, one); err != nil {
		return Record{}, nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	return one, sum, nil
}

func (r *Reader) data(one *Record) error {
	if r.buf == nil {
		r.buf = make([]byte, MaxData)
	}
	one.Data = r.buf[:one.Length]
	if err := r.full(one.Data); err != nil {
		return fmt.Errorf("record %d: %w", r.at.Records+1, err)
	}
	return nil
}

// behind is what was wrong behind the end.
func (r *Reader) behind(err error) error {
	if err == nil {
		return fmt.Errorf("%w: something follows its end", ErrBad)
	}
	return fmt.Errorf("%w: %w: %w", ErrBad, ErrBroken, err)
}

// full reads all of b. The end of the stream is never in place there.
func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%w: %w: %w", ErrBad, ErrBroken, err)
	}
	return nil
}

// Position is after the last record that was handed out.
func (r *Reader) Position() Position { return r.at }
