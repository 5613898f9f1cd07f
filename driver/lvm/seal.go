package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Seal implements driver.Taker.
func (k kept) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	if err := k.sealAll(ctx, consistency, s); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

func (r realm) sealAll(ctx context.Context, consistency string, s []driver.Snapshot) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	these, err := r.findAll(ctx, s)
	if err != nil {
		return err
	}
	var lines []string
	for i, f := range these {
		tag, err := r.sealOf(f, consistency, s[i])
		if err != nil {
			return err
		}
		if slices.Contains(f.tags(), tag) {
			continue
		}
		lines = append(lines, strings.Join(append(r.unsealing(f), "--addtag="+tag, "--select", byUUID(f), f.VG), " "))
	}
	if len(lines) == 0 {
		return nil
	}
	fault.Point("before seal")
	if err := shell(ctx, lines...); err != nil {
		return err
	}
	return r.verifySeals(ctx, consistency, s)
}

// unsealing is a command that takes the seals off, to be completed.
func (r realm) unsealing(f found) []string {
	args := []string{"lvchange", "-y"}
	for _, tag := range f.tags() {
		if strings.HasPrefix(tag, r.sealMark()) {
			args = append(args, "--deltag="+tag)
		}
	}
	return args
}

func (r realm) findAll(ctx context.Context, s []driver.Snapshot) ([]found, error) {
	w, err := r.look(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, one := range s {
		f, err := w.find(one)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.Name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// verifySeals looks whether LVM's shell did what it was told.
func (r realm) verifySeals(ctx context.Context, consistency string, s []driver.Snapshot) error {
	these, err := r.findAll(ctx, s)
	if err != nil {
		return err
	}
	for _, f := range these {
		if !f.snap.Sealed || f.snap.Consistency != consistency {
			return fmt.Errorf("%s: the seal was written and is not there", f.lv)
		}
	}
	return nil
}

// Unseal implements driver.Pruner. Tags are metadata of the volume group: they can be taken off when the pool is full.
func (k kept) Unseal(ctx context.Context, s ...driver.Snapshot) error {
	if err := k.unsealAll(ctx, s); err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	return nil
}

func (r realm) unsealAll(ctx context.Context, s []driver.Snapshot) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	w, err := r.look(ctx, s)
	if err != nil {
		return err
	}
	these, failed, letGo := w.claim(s)
	defer letGo()
	stays := map[driver.SetID]bool{}
	for i, err := range failed {
		if err != nil {
			stays[s[i].Set] = true
		}
	}
	these = slices.DeleteFunc(these, func(f found) bool { return stays[f.snap.Set] || !f.snap.Sealed })
	for _, in := range byGroup(these) {
		for some := range slices.Chunk(in, chunk) {
			failed = append(failed, r.unsealSome(ctx, some))
		}
	}
	return errors.Join(failed...)
}

// chunk is so many volumes as one command line takes for sure.
const chunk = 200

// unsealSome takes the seals off snapshots of one group, by one process: a tag that one of them does not have is nothing
// to take off.
func (r realm) unsealSome(ctx context.Context, these []found) error {
	args := []string{"lvchange", "-y"}
	for _, f := range these {
		args = append(args, r.unsealing(f)[2:]...)
	}
	fault.Point("before removal of a seal")
	return change(ctx, append(args, "--select", byUUID(these...), these[0].VG)...)
}

// Pin implements driver.Pruner.
func (k kept) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.setPin(ctx, "pin", "--addtag="+k.pinOf(reason), s, reason)
}

// Unpin implements driver.Pruner.
func (k kept) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	return k.setPin(ctx, "unpin", "--deltag="+k.pinOf(reason), s, reason)
}

// setPin adds or takes off one tag. Whoever pins another reason meanwhile is not disturbed.
func (r realm) setPin(ctx context.Context, verb, arg string, s driver.Snapshot, reason string) error {
	err := driver.CheckPin(reason)
	if err == nil {
		err = r.withSnapshot(ctx, s, func(f found) error {
			return change(ctx, "lvchange", "-y", arg, "--select", byUUID(f), f.VG)
		})
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.Name, err)
	}
	return nil
}

// withSnapshot lets fn work with a snapshot that is ours and as it was sealed, and that no volsnap destroys meanwhile.
func (r realm) withSnapshot(ctx context.Context, s driver.Snapshot, fn func(found) error) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	w, err := r.look(ctx, []driver.Snapshot{s})
	if err != nil {
		return err
	}
	f, err := w.find(s)
	if err != nil {
		return err
	}
	return fn(f)
}
