package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/command"
)

// step brings the kernel's pool and LVM's into step, if a killed lvcreate left them out of it, so that nobody finds out in a
// pause. all was listed a moment ago. origin is a volume of the pool: LVM does what is left to do in it when that is refreshed.
func step(ctx context.Context, all []lv, vg, pool, origin string) error {
	is, err := readStatus(ctx, vg, pool)
	if err != nil {
		return err
	}
	now := strconv.FormatUint(is.transaction, 10)
	if slices.ContainsFunc(all, func(v lv) bool { return v.VG == vg && v.Name == pool && v.Order == now }) {
		return nil // as nearly always
	}
	ahead, err := settle(ctx, vg, pool)
	if err != nil || !ahead {
		return err
	}
	if err := change(ctx, "lvchange", "--refresh", vg+"/"+origin); err != nil {
		return fmt.Errorf("thin pool %s/%s: a command of LVM was killed in it, and what it left undone cannot be done: %w", vg, pool, err)
	}
	return nil
}

// settle lets a thin pool go on in which a killed lvcreate left a snapshot of ours half made. LVM sends the kernel two messages,
// "create_snap" and "set_transaction_id". Killed between them, it sends the first again with its next change of the pool, the
// kernel says that the thin device exists already, and from then on no volume of the pool can be made, removed or extended. The
// thin device is deleted here, and LVM makes it anew.
//
// It is deleted only if the pool's transaction in the metadata of the group is just the one after the kernel's, and the volume
// of that transaction is a snapshot of ours that was never sealed, or a volume that is being received. LVM is kept out meanwhile, by its own lock of the group.
func settle(ctx context.Context, vg, pool string) (ahead bool, err error) {
	unlock, err := lockGroup(ctx, vg)
	if err != nil {
		return false, err
	}
	defer unlock()
	text, err := ask(ctx, append(report(fields), "--nolocking", vg)...)
	if err != nil {
		return false, err
	}
	all, err := parseReport[lv](text)
	if err != nil {
		return false, err
	}
	is, err := readStatus(ctx, vg, pool)
	if err != nil {
		return false, err
	}
	id, ahead := halfMade(all, pool, is.transaction)
	if id == "" {
		return ahead, nil
	}
	err = message(ctx, vg, pool, "delete "+id)
	if notThere(err) {
		return ahead, nil // the first message was not sent either: LVM will
	}
	return ahead, err
}

// inTheMaking reports whether a volume is one that nobody can need yet, if its making has not ended: a snapshot of ours that was never
// sealed, a volume that is being received, or a stage that was never put in a place.
func (v lv) inTheMaking() bool {
	if _, ok := inArrival(v); ok {
		return true
	}
	if v.isNewStage() {
		return true
	}
	s, ok := judge(v)
	return ok && !s.Sealed && s.Fault == "" && len(s.Pins) == 0
}

// halfMade finds whether LVM is one transaction ahead of the kernel, and the number of the volume of that transaction, if it is
// a snapshot of ours in the making; else "".
func halfMade(all []lv, pool string, reached uint64) (thinID string, ahead bool) {
	for _, v := range all {
		if v.Name == pool && v.Segment == "thin-pool" {
			ahead = v.Order == strconv.FormatUint(reached+1, 10)
		}
	}
	for _, v := range all {
		if v.Pool != pool || v.Order != strconv.FormatUint(reached, 10) {
			continue
		}
		if _, err := strconv.ParseUint(v.Thin, 10, 24); err != nil || !v.inTheMaking() {
			return "", ahead
		}
		thinID = v.Thin
	}
	if !ahead {
		return "", false
	}
	return thinID, true
}

func notThere(err error) bool {
	var failed *command.Error
	return errors.As(err, &failed) && strings.Contains(failed.Stderr, "No data available")
}

// lockGroup takes LVM's own lock of a volume group (lib/misc/lvm-flock.c): whoever lets it go may remove the file, so it has to
// be there still when it is locked. LVM's locks are where global/locking_dir says; only the usual place is known here, and on
// a host that has another one LVM is not kept out.
func lockGroup(ctx context.Context, vg string) (unlock func(), err error) {
	name := filepath.Join(lockDirs[0], "V_"+vg)
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && same(f, name) {
			return func() { _ = f.Close() }, nil
		}
		if err := errors.Join(f.Close(), busyOnly(err)); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		case <-again.C:
		}
	}
}

// busyOnly is nil for what is worth another try.
func busyOnly(err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

func same(f *os.File, name string) bool {
	a, err := f.Stat()
	b, err2 := os.Lstat(name)
	return err == nil && err2 == nil && os.SameFile(a, b)
}
