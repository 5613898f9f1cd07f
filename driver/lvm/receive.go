package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

// checkpointStep is how much of a stream comes between two notes of what is on disk, where that is kept.
const checkpointStep = 64 << 20

// Receive implements driver.Receiver. A stream is written to a volume that has no replica's name until it is whole.
func (r *Replicas) Receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	out, err := r.receive(ctx, req, in)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("receive %q of %q: %w", req.Snapshot.Set, req.Snapshot.Dataset.Name, classify(err))
	}
	return out, nil
}

func (r *Replicas) receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	a, err := r.arrive(ctx, req)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer a.close()
	ahead, stop := readAhead(ctx, in)
	defer stop()
	from := stream.NewReader(ahead)
	head, err := from.Head()
	if err != nil {
		return driver.Snapshot{}, streamError(ctx, err)
	}
	if err := a.expected(head); err != nil {
		return driver.Snapshot{}, err
	}
	if a.kept != nil {
		from.GoOn(a.at)
	}
	err = a.begin(ctx, head)
	if err == nil {
		err = a.fill(ctx, from)
	}
	var got driver.Snapshot
	if err == nil {
		got, err = a.publish(ctx)
	}
	if err != nil {
		return driver.Snapshot{}, errors.Join(err, a.end(ctx, err))
	}
	return got, nil
}

// expected compares what a stream says that it makes with what was announced, and with what it goes on with.
func (a *arrival) expected(head stream.Head) error {
	if head.GUID != a.rec.GUID || head.Base != a.rec.Base {
		return fmt.Errorf("%w: it makes %s on top of %q, announced was %s on top of %q",
			driver.ErrBadStream, head.GUID, head.Base, a.rec.GUID, a.rec.Base)
	}
	if a.kept != nil && head.Size != a.rec.Size {
		return fmt.Errorf("%w: it is of %d bytes, and what was kept of %d", driver.ErrBadStream, head.Size, a.rec.Size)
	}
	return nil
}

// fill writes what the stream holds, until it is on disk.
func (a *arrival) fill(ctx context.Context, in *stream.Reader) error {
	noted := in.Position().Sent()
	for {
		one, err := in.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, stream.ErrBad) {
			return a.f.Sync()
		}
		if err != nil {
			return streamError(ctx, err)
		}
		if err := a.apply(ctx, one); err != nil {
			return err
		}
		a.at = in.Position()
		if sent := a.at.Sent(); a.options.Resume && sent-noted >= checkpointStep {
			if err := a.checkpoint(ctx, a.at); err != nil {
				return err
			}
			noted = sent
		}
	}
}

// apply does what one record says.
func (a *arrival) apply(ctx context.Context, one stream.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	end := one.Offset + one.Length
	if one.Kind == stream.Discard {
		return a.zero(ctx, one.Offset, end)
	}
	if err := a.room.take(ctx, one.Offset, end, a.f.Sync); err != nil {
		return err
	}
	_, err := a.f.WriteAt(one.Data, one.Offset)
	return err
}

// streamError is what became of a stream that could not be read.
func streamError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", driver.ErrBadStream, err)
}
