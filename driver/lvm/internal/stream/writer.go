package stream

import (
	"bufio"
	"fmt"
	"io"
)

const buffer = 256 << 10

// Writer writes one stream.
type Writer struct {
	w    *bufio.Writer
	head Head
	at   Position
	from Position // what lies before is not written
}

// NewWriter writes the stream of a volume to w, from a position of it on; the zero Position is its beginning. The caller
// writes all records in either case, and closes it.
func NewWriter(w io.Writer, h Head, from Position) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	text, sum := h.encode()
	out := &Writer{w: bufio.NewWriterSize(w, buffer), head: h, from: from}
	out.at.sum = sum
	if from.Records > 0 {
		return out, nil
	}
	_, err := out.w.Write(text)
	return out, err
}

// Write writes a record. ErrOther: the stream is another one than that of the position it was to go on from, and nothing was
// written.
func (w *Writer) Write(r Record) error {
	if err := w.at.fits(w.head, r); err != nil {
		return err
	}
	if r.Kind == Data && int64(len(r.Data)) != r.Length || r.Kind != Data && len(r.Data) > 0 {
		return fmt.Errorf("record %d has %d bytes of data, and says %d", w.at.Records+1, len(r.Data), r.Length)
	}
	skip := w.at.Records < w.from.Records
	w.at = w.at.after(r)
	if !skip {
		return w.put(r, w.at)
	}
	if w.at.Records < w.from.Records {
		return nil
	}
	if w.at != w.from {
		return fmt.Errorf("after %d records it is not what was kept: %w", w.at.Records, ErrOther)
	}
	text, _ := w.head.encode()
	_, err := w.w.Write(text)
	return err
}

// put writes a record with the sum of the position after it.
func (w *Writer) put(r Record, after Position) error {
	head := r.encode()
	for _, part := range [][]byte{head[:], after.sum[:], r.Data} {
		if _, err := w.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Close writes the end. It does not close what is beneath.
func (w *Writer) Close() error {
	if w.at.Records < w.from.Records {
		return fmt.Errorf("it has %d records, and %d were kept: %w", w.at.Records, w.from.Records, ErrOther)
	}
	last := w.at.last()
	if err := w.put(last, w.at.after(last)); err != nil {
		return err
	}
	return w.w.Flush()
}
