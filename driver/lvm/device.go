package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// open opens the active device of a volume, and of no other. A volume whose UUID is not known yet is any that has its name in its
// group; what is opened has the UUID that is returned.
func (v lv) open(flags int) (f *os.File, uuid string, err error) {
	at := "/dev/mapper/" + deviceName(v.VG, v.Name)
	f, err = os.OpenFile(at, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	uuid, err = uuidOf(f, v.VGUUID)
	if err == nil && v.UUID != "" && uuid != v.UUID {
		err = fmt.Errorf("%s is the device of the volume %s: %w", at, uuid, driver.ErrForeign)
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, uuid, nil
}

// uuidOf is the UUID of the volume of a group that is an open device.
func uuidOf(f *os.File, group string) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	uuid, err := deviceUUID(fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(uuid, uuidPrefix+plain(group))
	if !ok || len(rest) != 32 || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is the device %s: %w", f.Name(), uuid, driver.ErrForeign)
	}
	return dashed(rest), nil
}

// Requests of linux/fs.h, with where a range begins and its length in bytes as argument.
const (
	blkDiscard = 0x1277 // BLKDISCARD
	blkZeroOut = 0x127f // BLKZEROOUT
)

func rangeRequest(f *os.File, request uintptr, from, to int64) error {
	arg := [2]uint64{uint64(from), uint64(to - from)}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return &os.PathError{Op: fmt.Sprintf("ioctl %#x of %d bytes at %d", request, to-from, from), Path: f.Name(), Err: errno}
	}
}

// At a time: so that the end of a context is seen, and the pool does not fill unseen.
const (
	discardStep = 4 << 30
	zeroStep    = 1 << 20
)

// zero makes a range read as zeros: whole blocks of the pool by giving them up, and then, by writing, whatever of it is found to
// hold something else. Discards are only asked for: a pool ignores them in part of a block or altogether (lvmthin(7)), and Linux
// cuts them at the wrong places where the blocks' size is no power of two (blk-lib.c, bio_discard_limit). Of a large range no more is
// looked at than the pool has of it: how large a volume is said to be is for the client to say.
func (a *arrival) zero(ctx context.Context, from, to int64) error {
	to, err := a.mapped(ctx, from, to)
	if err != nil {
		return err
	}
	block := int64(a.room.pool.block)
	last := to / block * block
	for at := (from + block - 1) / block * block; at < last; at += discardStep {
		err := ctx.Err()
		if err == nil {
			err = rangeRequest(a.f, blkDiscard, at, min(at+discardStep, last))
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			break
		}
		if err != nil {
			return err
		}
	}
	if to, err = a.mapped(ctx, from, to); err != nil {
		return err
	}
	return a.writeZeros(ctx, from, to)
}

// askFrom is how large a range has to be that the pool is asked what it has of it: that takes a process.
const askFrom = 1 << 30

// mapped is where a range ends at the latest behind which the pool has nothing of the volume.
func (a *arrival) mapped(ctx context.Context, from, to int64) (int64, error) {
	if to-from < askFrom {
		return to, nil
	}
	end, err := mappedEnd(ctx, a.vol)
	return max(from, min(to, end)), err
}

// writeZeros writes zeros where there are others.
func (a *arrival) writeZeros(ctx context.Context, from, to int64) error {
	buf := make([]byte, min(zeroStep, to-from))
	for at := from; at < to; at += zeroStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := buf[:min(zeroStep, to-at)]
		if err := readFull(a.f, some, at); err != nil {
			return err
		}
		if !allZero(some) {
			if err := a.writeZero(ctx, at, at+int64(len(some))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *arrival) writeZero(ctx context.Context, from, to int64) error {
	if err := a.room.take(ctx, from, to, a.f.Sync); err != nil {
		return err
	}
	return rangeRequest(a.f, blkZeroOut, from, to)
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), granule)
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
