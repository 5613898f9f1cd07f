package lvm

import (
	"context"
	"errors"
	"fmt"
)

// removeVolumes removes thin volumes of one group for good.
//
// LVM 2.03 keeps the messages that it owes the kernel's pool in the metadata of the group, and the number that the pool's transaction
// will have then. When its power fails after the kernel had them and before they are struck out, the next lvremove adds its own message
// "delete" to them, finds that the kernel has that number already, and strikes them all out unsent. The thin device stays, without a
// volume; its number is the next that LVM gives to a new one, and from then on no volume of the pool can be made. The
// pool's transaction tells: it goes on by one for each volume that is removed.
func removeVolumes(ctx context.Context, vg string, these ...found) error {
	before := map[string]uint64{}
	count := map[string]uint64{}
	for _, f := range these {
		if count[f.Pool]++; count[f.Pool] > 1 {
			continue
		}
		is, err := readStatus(ctx, vg, f.Pool)
		if err != nil {
			return err
		}
		before[f.Pool] = is.transaction
	}
	failed := change(ctx, "lvremove", "-y", "--select", byUUID(these...), vg)
	after := context.WithoutCancel(ctx)
	for pool, n := range count {
		is, err := readStatus(after, vg, pool)
		if err == nil && is.transaction != before[pool]+n {
			err = deleteLeft(after, vg, pool, these)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// deleteLeft deletes the thin devices of removed volumes that are there still. LVM is kept out meanwhile, and what is a volume's stays.
func deleteLeft(ctx context.Context, vg, pool string, these []found) error {
	unlock, err := lockGroup(ctx, vg)
	if err != nil {
		return err
	}
	defer unlock()
	text, err := ask(ctx, append(report(fields), "--nolocking", vg)...)
	if err != nil {
		return err
	}
	all, err := parseReport[lv](text)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, v := range all {
		if v.Pool == pool {
			used[v.Thin] = true
		}
	}
	var failed []error
	for _, f := range these {
		if f.Pool != pool || f.Thin == "" || used[f.Thin] {
			continue
		}
		if err := message(ctx, vg, pool, "delete "+f.Thin); err != nil && !notThere(err) {
			failed = append(failed, fmt.Errorf("thin pool %s/%s: LVM has removed %s, and its thin device %s is left: %w", vg, pool, f, f.Thin, err))
		}
	}
	return errors.Join(failed...)
}
