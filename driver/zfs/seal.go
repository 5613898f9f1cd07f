package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Seal implements driver.Taker. A snapshot of ZFS cannot be written to, so its GUID is all there is to verify. One `zfs set`
// gives several snapshots one value, in which the GUID of each is named.
func (d *Driver) Seal(ctx context.Context, consistency string, s ...driver.Snapshot) error {
	if err := checkClass(consistency); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	l, err := d.lookAt(ctx, s)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	seals := slices.Clone(s)
	for i, one := range s {
		r, err := l.find(one)
		if err != nil {
			return fmt.Errorf("seal %s: %w", one.Name, err)
		}
		seals[i].Member = r.now.Member
	}
	for len(seals) > 0 {
		n := 1
		for n < len(seals) && seals[n].Taken.Equal(seals[0].Taken) {
			n++
		}
		err := inParallel(seals[:n], sealedTogether, func(some []driver.Snapshot) error { return seal(ctx, sealProp, consistency, some) })
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		seals = seals[n:]
	}
	return nil
}

func checkClass(consistency string) error {
	if !class.MatchString(consistency) || consistency == unsealed {
		return fmt.Errorf("%q is no class of consistency", consistency)
	}
	return nil
}

// sealedTogether is how many one command seals or unseals. Within a command they wait for each other's transaction groups.
const sealedTogether = 8

// seal gives snapshots that were taken at one time their mark, in that property.
func seal(ctx context.Context, property, consistency string, s []driver.Snapshot) error {
	m := mark{class: consistency, taken: s[0].Taken, members: map[string]int{}}
	var guids, names []string
	for _, one := range s {
		if m.members[one.GUID] == 0 {
			guids, names = append(guids, one.GUID), append(names, one.Name)
		}
		m.members[one.GUID] = one.Member
	}
	fault.Point("before seal")
	_, err := run(ctx, append([]string{"zfs", "set", property + "=" + m.encode(guids)}, names...)...)
	fault.Point("after seal")
	return err
}

// Unseal implements driver.Pruner. `zfs inherit` takes the seal away; it may use the room that a full pool keeps back. A
// snapshot that `zfs promote` has moved would be nobody's without its seal, and gets one that says that it has none.
func (k *kept) Unseal(ctx context.Context, s ...driver.Snapshot) error {
	freed, err := k.free(ctx, s)
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	defer freed.release()
	property := k.realm.sealProperty()
	var failed []error
	stays := map[string]bool{} // sets, by the snapshots' name
	for _, r := range freed.stay {
		stays[r.snapshot.Set.SnapshotName()] = true
		failed = append(failed, fmt.Errorf("unseal %s: %w", r.snapshot.Name, r.why))
	}
	var names []string
	for _, f := range freed.free {
		switch {
		case !f.now.Sealed || stays[f.snap]:
		case f.moved:
			failed = append(failed, seal(ctx, property, unsealed, []driver.Snapshot{f.now}))
		default:
			names = append(names, f.name)
		}
	}
	err = inParallel(names, sealedTogether, func(some []string) error {
		fault.Point("before removal of a seal")
		defer fault.Point("after removal of a seal")
		return list(ctx, true, noRow, append([]string{"zfs", "inherit", property}, some...)...)
	})
	if err != nil {
		failed = append(failed, fmt.Errorf("unseal: %w", err))
	}
	return errors.Join(failed...)
}

func noRow(f []string) error { return fmt.Errorf("zfs: unexpected output %q", f) }
