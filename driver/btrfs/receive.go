package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
	"github.com/volsnap/volsnap/internal/fault"
)

// Receive implements driver.Receiver. What a stream says is done by a builder; see there for what holds it in.
func (r *Replicas) Receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	out, err := r.receive(ctx, req, in)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("receive %q of %q: %w", req.Snapshot.Set, req.Snapshot.Dataset.Name, err)
	}
	return out, nil
}

func (r *Replicas) receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	a, err := r.arrive(ctx, req)
	if err != nil {
		return driver.Snapshot{}, classify(err)
	}
	defer a.close()
	ahead, stop := readAhead(ctx, in)
	defer stop()
	source := ahead
	if r.options.Resume {
		head := spoolHead{Version: 1, GUID: a.record.GUID, Base: a.record.Base}
		if a.spool, err = openSpool(a.key, a.staging()+spoolExt, head, req.Resume, ahead); err != nil {
			return driver.Snapshot{}, errors.Join(classify(err), a.leave(ctx))
		}
		source = a.spool
	}
	err = a.fill(ctx, stream.NewReader(source))
	if err == nil {
		err = a.publish(ctx)
	}
	if err != nil {
		return driver.Snapshot{}, errors.Join(err, a.discard(), a.endSpool(ctx, err), a.leave(ctx))
	}
	return a.snapshot(), a.endSpool(ctx, nil)
}

// endSpool keeps the spool if the transfer broke because the line did, or ctx ended. What is wrong with a stream that came to its end
// will not get better, and what a full disk has no room for is best removed.
func (a *arrival) endSpool(ctx context.Context, err error) error {
	if a.spool == nil {
		return nil
	}
	broke := err != nil && (ctx.Err() != nil || a.spool.broken || errors.Is(err, io.ErrUnexpectedEOF))
	return a.spool.end(broke && !errors.Is(err, driver.ErrNoSpace))
}

// fill makes the subvolume that the stream holds, under a name that is no snapshot's, until it is on disk.
func (a *arrival) fill(ctx context.Context, in *stream.Reader) error {
	head, err := in.Head()
	if err != nil {
		return streamError(ctx, err)
	}
	if err := a.expected(head); err != nil {
		return err
	}
	if err := a.begin(); err != nil {
		return classify(err)
	}
	b := builder{top: a.top, sources: map[uuid]*os.File{head.UUID: a.top}}
	if a.base != nil {
		b.sources[head.Base] = a.base.dir
	}
	defer b.close()
	if err := b.begin(); err != nil {
		return err
	}
	for {
		c, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.do(c)
		}
		if err := errors.Join(ctx.Err(), err); err != nil {
			return streamError(ctx, err)
		}
	}
	if err := b.settle(); err != nil {
		return err
	}
	return classify(a.finish(head))
}

// expected compares what a stream says that it makes with what was announced.
func (a *arrival) expected(head stream.Head) error {
	base := ""
	if !head.Base.IsZero() {
		base = head.Base.String()
	}
	if head.UUID.String() != a.record.GUID || base != a.record.Base {
		return fmt.Errorf("%w: it makes %s on top of %q, announced was %s on top of %q",
			driver.ErrBadStream, head.UUID, base, a.record.GUID, a.record.Base)
	}
	return nil
}

// begin writes the intent, and then makes the subvolume.
func (a *arrival) begin() error {
	a.intended = true
	if err := writeRecords(a.home, []write{{a.key, a.record}}); err != nil {
		return err
	}
	if err := a.make(); err != nil {
		return err
	}
	var err error
	if a.top, err = openDirIn(a.key, a.staging()); err != nil {
		return err
	}
	info, err := infoOf(a.top)
	if err == nil && a.base != nil && info.from != a.base.info.uuid {
		err = fmt.Errorf("%s was replaced meanwhile: %w", a.top.Name(), driver.ErrForeign)
	}
	if err == nil {
		a.id = info.id
	}
	return err
}

func (a *arrival) make() error {
	if a.base != nil {
		return makeSnapshot(a.base.dir, a.key, a.staging(), false)
	}
	return makeSubvol(a.key, a.staging())
}

// finish makes what was received read-only, and returns once it is on disk.
func (a *arrival) finish(head stream.Head) error {
	if err := unix.Syncfs(int(a.top.Fd())); err != nil { // tells what could not be written since the top was opened
		return &os.PathError{Op: "syncfs", Path: a.top.Name(), Err: err}
	}
	if err := setReceived(a.top, head.UUID, head.Transid); err != nil {
		return &os.PathError{Op: "make read-only", Path: a.top.Name(), Err: err}
	}
	if err := commit(a.top); err != nil {
		return &os.PathError{Op: "commit", Path: a.top.Name(), Err: err}
	}
	var err error
	if a.info, err = infoOf(a.top); err != nil {
		return err
	}
	if ours, wrong := a.record.judge(a.info); !ours || wrong != "" || a.info.id != a.id {
		return fmt.Errorf("%s: is not what was received a moment ago: %w", a.top.Name(), driver.ErrForeign)
	}
	return nil
}

// publish gives the replica its name.
func (a *arrival) publish(ctx context.Context) error {
	if err := lock(ctx, a.home); err != nil {
		return err
	}
	defer a.unlock()
	fault.Point("before rename of a replica")
	fd := int(a.key.Fd())
	// A read-only subvolume can be renamed where it is, and moved nowhere.
	if err := unix.Renameat2(fd, a.staging(), fd, a.name(), unix.RENAME_NOREPLACE); err != nil {
		return classify(&os.PathError{Op: "rename", Path: a.top.Name(), Err: err})
	}
	a.published = true
	fault.Point("after rename of a replica")
	if err := commit(a.key); err != nil {
		return classify(&os.PathError{Op: "commit", Path: a.key.Name(), Err: err})
	}
	return nil
}

// discard removes what came of an arrival that failed. What it cannot remove is invisible, and the next one removes it.
func (a *arrival) discard() error {
	var failed []error
	if a.id != 0 {
		failed = append(failed, destroySubvol(a.key, a.id))
	}
	if a.intended && errors.Join(failed...) == nil {
		failed = append(failed, remove(a.key, a.name()+recordExt))
	}
	return errors.Join(failed...)
}

// leave removes the directory if nothing is in it: a source must not be able to make any number of them.
func (a *arrival) leave(ctx context.Context) error {
	if err := lock(context.WithoutCancel(ctx), a.home); err != nil {
		return err
	}
	defer a.unlock()
	return a.removeEmpty(a.home, a.key)
}

// snapshot is the replica as a listing has it.
func (a *arrival) snapshot() driver.Snapshot {
	out := driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: a.key.Name()}, Name: filepath.Join(a.key.Name(), a.name()),
		Set: a.record.Set, Order: a.info.id, Taken: a.info.made,
	}
	a.record.fill(&out, a.info)
	return out
}
