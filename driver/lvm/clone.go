package lvm

import (
	"context"
	"fmt"

	"github.com/volsnap/volsnap/driver"
)

// Clone implements driver.Driver: a writable, active thin volume in the pool of the snapshot, "vg/lv". It has the file
// system's UUID; of XFS two such can be mounted at a time only with -o nouuid.
func (d *Driver) Clone(ctx context.Context, s driver.Snapshot, to driver.Dataset) error {
	err := d.withSnapshot(ctx, s, func(f found) error {
		vg, name, err := split(to.Name)
		switch {
		case to.Kind != Kind:
			return driver.ErrNotSupported
		case err != nil:
			return err
		case vg != f.VG:
			return fmt.Errorf("the snapshot is in the volume group %s: %w", f.VG, driver.ErrNotSupported)
		}
		return f.clone(ctx, vg, name)
	})
	if err != nil {
		return fmt.Errorf("clone %s to %s: %w", s.Name, to, err)
	}
	return nil
}

// clone makes the clone and sees whether it was made from the snapshot, which lvcreate takes by name only.
func (f found) clone(ctx context.Context, vg, name string) error {
	err := change(ctx, "lvcreate", "-y", "--snapshot", "--name", name, "--permission", "rw", "--setactivationskip", "n",
		f.String())
	if err != nil {
		return err
	}
	all, err := volumes(context.WithoutCancel(ctx), vg)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.Name != name {
			continue
		}
		if v.OriginUUID != f.UUID {
			return fmt.Errorf("the snapshot was replaced meanwhile, and %s made from %s: %w", v, v.Origin, driver.ErrForeign)
		}
		return nil
	}
	return driver.ErrNotFound
}
