package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

// Send implements driver.Sender. The stream holds what differs from the base, or from zeros, to the granule of 4 KiB, however large the
// blocks of the pool are: of a block that was written since, the base's is read and compared. While it runs, the snapshot and
// the base are ErrBusy to Unseal and Destroy.
func (k kept) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	err := k.send(ctx, req, w)
	if errors.Is(err, stream.ErrOther) {
		err = fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
	}
	return nil
}

func (r realm) send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	var from stream.Position
	if req.Resume != "" {
		var err error
		if from, err = stream.ParsePosition(req.Resume); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	src, err := r.openSource(ctx, req)
	if err != nil {
		return classify(err)
	}
	defer src.close(ctx)
	left := src.snap.Thin // compared with itself, all that it has is the same
	head := stream.Head{GUID: req.Snapshot.GUID, Size: src.snap.size}
	if src.base != nil {
		left, head.Base = src.base.Thin, req.Base.GUID
	}
	d, err := mapped(ctx, src.pool, left, src.snap.Thin)
	if err != nil {
		return err
	}
	head.Block = d.block
	out, err := stream.NewWriter(w, head, from)
	if err != nil {
		return err
	}
	if err := src.write(ctx, d, out); err != nil {
		return err
	}
	return out.Close()
}

// granule is what is compared at a time.
const granule = 4096

// write writes all records of a stream.
func (s *source) write(ctx context.Context, d delta, out *stream.Writer) error {
	x := extract{source: s, ctx: ctx, out: out, old: make([]byte, stream.MaxData), now: make([]byte, stream.MaxData)}
	for _, one := range d.runs {
		from, to := int64(one.begin)*d.block, min(int64(one.begin+one.length)*d.block, s.snap.size)
		if err := x.run(from, to, one.is); err != nil {
			return err
		}
	}
	return nil
}

// extract makes records of what is on the devices.
type extract struct {
	*source
	ctx      context.Context
	out      *stream.Writer
	old, now []byte
}

// run writes what there is to say of a range. Behind the end of the base all is as if there were none.
func (x *extract) run(from, to int64, is difference) error {
	if is == shared && x.base != nil {
		from = max(from, x.base.size)
	}
	if is == gone {
		if x.base != nil {
			to = min(to, x.base.size)
		}
		if x.base == nil || from >= to {
			return nil
		}
		return x.out.Write(stream.Record{Kind: stream.Discard, Offset: from, Length: to - from})
	}
	for from < to {
		end := min(to, from/stream.MaxData*stream.MaxData+stream.MaxData)
		if err := x.window(from, end, is); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// window writes what differs in at most stream.MaxData bytes.
func (x *extract) window(from, to int64, is difference) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	now, old := x.now[:to-from], x.old[:to-from]
	if err := readFull(x.snap.f, now, from); err != nil {
		return err
	}
	clear(old)
	if is == changed && x.base != nil && from < x.base.size {
		if err := readFull(x.base.f, old[:min(to, x.base.size)-from], from); err != nil {
			return err
		}
	}
	for at := 0; at < len(now); {
		kind, end := kindOf(now, old, at), at
		for end < len(now) && kindOf(now, old, end) == kind {
			end = min(end+granule, len(now))
		}
		one := stream.Record{Kind: kind, Offset: from + int64(at), Length: int64(end - at)}
		if kind == stream.Data {
			one.Data = now[at:end]
		}
		if kind != equal {
			if err := x.out.Write(one); err != nil {
				return err
			}
		}
		at = end
	}
	return nil
}

// equal is the kind of what need not be sent.
const equal stream.Kind = 0

var zeros [granule]byte

// kindOf is how a granule is sent.
func kindOf(now, old []byte, at int) stream.Kind {
	end := min(at+granule, len(now))
	switch {
	case bytes.Equal(now[at:end], old[at:end]):
		return equal
	case allZero(now[at:end]):
		return stream.Discard
	}
	return stream.Data
}

func readFull(f io.ReaderAt, into []byte, at int64) error {
	n, err := f.ReadAt(into, at)
	if n == len(into) {
		return nil
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(into), at, err)
}
