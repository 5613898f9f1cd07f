package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
	"github.com/volsnap/volsnap/internal/fault"
)

// begin makes the volume that is to be filled, or activates what it goes on with, and opens it. Until it is published it has
// no replica's name.
func (a *arrival) begin(ctx context.Context, head stream.Head) error {
	a.rec.Size = head.Size
	if err := a.prepare(ctx); err != nil || a.kept != nil {
		return err
	}
	return a.zeroTail(ctx)
}

func (a *arrival) prepare(ctx context.Context) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if a.room, err = a.enter(ctx); err != nil {
		return err
	}
	if a.kept != nil {
		return a.reopen(ctx)
	}
	if err := a.create(ctx); err != nil {
		return err
	}
	return a.grow(ctx)
}

// enter finds the pool fit for a replica. One that is to be extended by itself is looked at as it is: LVM refuses to make a
// volume above that mark, and while it is filled the pool grows. Of the metadata area of the group, a source gets all but a tenth.
func (a *arrival) enter(ctx context.Context) (room, error) {
	p, err := readUse(ctx, a.vg, a.pool)
	if err != nil {
		return room{}, err
	}
	tags, err := a.rec.tags()
	if err == nil {
		err = errors.Join(p.roomy(), p.keepsZeros(a.Pool()), p.notes(a.vg, areaOf(tags)+p.groupSize/10))
	}
	if err != nil {
		return room{}, fmt.Errorf("thin pool %s: %w", a.Pool(), err)
	}
	m := room{vg: a.vg, name: a.pool, pool: p}
	is, err := m.look(ctx)
	if err == nil && !a.in.pool.inStep(is) {
		_, err = settle(ctx, a.vg, a.pool)
	}
	return m, err
}

// keepsZeros is an error for a pool in which the rest of a new block is not zeros after a part of it was written.
func (p pool) keepsZeros(name string) error {
	if p.zeroes && p.block > 0 {
		return nil
	}
	return fmt.Errorf("it does not zero new blocks, so a replica would hold what others have deleted; see \"lvchange --zero y %s\": %w",
		name, driver.ErrNotSupported)
}

// inStep reports whether the pool, as it was listed, is where the kernel is.
func (v lv) inStep(is status) bool { return v.Order == strconv.FormatUint(is.transaction, 10) }

// create makes the volume, empty or on top of the base. It carries its record from birth, is active, and will not be activated
// with the volume group: what is in it is not to be looked at by whatever looks at new devices.
func (a *arrival) create(ctx context.Context) error {
	name := a.stagingName(a.rec)
	args := []string{
		"lvcreate", "-y", "--config", quick, "--name", name, "--permission", "rw", "--setactivationskip", "y",
		"--ignoreactivationskip", "--activate", "y",
	}
	tags, err := a.rec.tags()
	if err != nil {
		return err
	}
	for _, tag := range tags {
		args = append(args, "--addtag="+tag)
	}
	if a.base != nil {
		args = append(args, "--snapshot", a.base.String())
	} else {
		args = append(args, "--virtualsize", bytesOf(a.rec.Size), "--thinpool", a.pool, a.vg)
	}
	fault.Point("before a volume is made to receive into")
	err = change(ctx, args...)
	fault.Point("after a volume is made to receive into")
	if err != nil {
		return err
	}
	return a.open(lv{VG: a.vg, VGUUID: a.in.pool.VGUUID, Name: name})
}

func bytesOf(n int64) string { return strconv.FormatInt(n, 10) + "b" }

// reopen activates what the transfer goes on with.
func (a *arrival) reopen(ctx context.Context) error {
	err := change(ctx, "lvchange", "-y", "--activate", "y", "--ignoreactivationskip", "--select", byUUID(found{lv: *a.kept}), a.vg)
	if err != nil {
		return err
	}
	return a.open(*a.kept)
}

// open opens the device of the volume, so that nobody mounts it.
func (a *arrival) open(v lv) error {
	f, uuid, err := v.open(unix.O_RDWR | unix.O_EXCL)
	if err != nil {
		return err
	}
	v.UUID = uuid
	a.vol, a.f = v, f
	a.size, err = f.Seek(0, io.SeekEnd)
	return err
}

// grow makes the volume as large as the source, if it is smaller. A volume is never made smaller, since nothing is to be had by it.
func (a *arrival) grow(ctx context.Context) error {
	if a.size >= a.rec.Size {
		return nil
	}
	if err := change(ctx, "lvextend", "-y", "--size", bytesOf(a.rec.Size), a.vol.String()); err != nil {
		return err
	}
	var err error
	if a.size, err = a.f.Seek(0, io.SeekEnd); err == nil && a.size < a.rec.Size {
		err = fmt.Errorf("%s has %d bytes and not %d", a.vol, a.size, a.rec.Size)
	}
	return err
}

// zeroTail makes what the source has cut off read as zeros: the stream does not speak of it. Behind its size, up to the end of its
// volume, each replica reads as zeros: a new volume holds nothing, and a pool that keeps zeros gives it no block that does not begin as
// such; nothing is written there; what is cut off is made zeros here; and what a volume is extended by is not there in the pool. So
// where the source has grown there is nothing to do, and what it says that it has grown to costs nothing.
func (a *arrival) zeroTail(ctx context.Context) error {
	if a.base == nil {
		return nil
	}
	old, err := parseReplica(a.base.tags())
	if err != nil || old.Size <= a.rec.Size {
		return err
	}
	return a.zero(ctx, a.rec.Size, old.Size)
}

// checkpoint notes how much of the stream is on disk, once it is.
func (a *arrival) checkpoint(ctx context.Context, at stream.Position) error {
	if a.f != nil {
		if err := a.f.Sync(); err != nil {
			return err
		}
	}
	args := []string{"lvchange", "-y", "--config", quick}
	note := progressTag + at.String()
	if note == a.note {
		return nil
	}
	if a.note != "" {
		args = append(args, "--deltag="+a.note)
	}
	fault.Point("before progress is noted")
	if err := change(ctx, append(args, "--addtag="+note, "--select", byUUID(found{lv: a.vol}), a.vg)...); err != nil {
		return err
	}
	fault.Point("after progress is noted")
	a.note = note
	return nil
}
