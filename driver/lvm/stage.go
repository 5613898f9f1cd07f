package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// StageOf implements driver.Stager: beside the snapshot, which is where its dataset is.
func (k kept) StageOf(s driver.Snapshot, name string) (driver.Dataset, error) {
	out := driver.Dataset{Kind: Kind}
	vg, _, err := split(s.Name)
	switch {
	case err != nil:
	case !k.inReach(vg), !validUUID(s.GUID):
		err = driver.ErrForeign
	default:
		err = driver.CheckStage(name)
	}
	if err != nil {
		return out, fmt.Errorf("stage of %q: %w", s.Name, err)
	}
	out.Name = vg + "/" + stageName(name, s.GUID)
	return out, nil
}

// Stage implements driver.Stager. A stage is not activated with its group, and it is born with its tag.
func (k kept) Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error) {
	to, err := k.StageOf(s, name)
	if err != nil {
		return driver.Stage{}, err
	}
	out := driver.Stage{Dataset: to}
	err = k.withSnapshot(ctx, s, func(f found) error {
		_, lv, err := split(to.Name)
		if err == nil {
			out.GUID, err = f.stage(ctx, lv)
		}
		return err
	})
	if err != nil {
		return driver.Stage{}, fmt.Errorf("stage %s: %w", s.Name, classify(err))
	}
	return out, nil
}

// stage makes a stage under that name, where the pool has as much room as for a snapshot.
func (f found) stage(ctx context.Context, name string) (uuid string, err error) {
	if device := deviceName(f.VG, name); len(device) > maxDeviceName {
		return "", fmt.Errorf("%s is too long for the name of a device: %w", device, driver.ErrNotSupported)
	}
	all, err := volumes(ctx, f.VG)
	if err != nil {
		return "", err
	}
	if _, there := named(all, name); there {
		return "", fmt.Errorf("%s/%s: %w", f.VG, name, driver.ErrExists)
	}
	tag := stageNameTag + name
	if err := f.roomFor(ctx, all, []string{tag}); err != nil {
		return "", err
	}
	fault.Point("before a stage is made")
	err = change(ctx, "lvcreate", "-y", "--snapshot", "--name", name, "--permission", "rw", "--setactivationskip", "y", "--addtag="+tag, f.String())
	fault.Point("after a stage is made")
	if err != nil {
		return "", err
	}
	if all, err = volumes(context.WithoutCancel(ctx), f.VG); err != nil {
		return "", err
	}
	v, there := named(all, name)
	switch {
	case !there:
		return "", driver.ErrNotFound
	case v.OriginUUID != f.UUID || !v.isNewStage():
		return "", fmt.Errorf("the snapshot was replaced meanwhile, and %s made from %s: %w", v, v.Origin, driver.ErrForeign)
	}
	return v.UUID, nil
}

// roomFor is ErrNoSpace where the pool has no room for another snapshot with tags. It brings the kernel's pool into step.
func (f found) roomFor(ctx context.Context, all []lv, tags []string) error {
	if err := f.settlePool(ctx, all); err != nil {
		return err
	}
	p, err := readPool(ctx, f.VG, f.Pool)
	if err != nil {
		return err
	}
	if err := p.roomy(); err != nil {
		return fmt.Errorf("thin pool %s/%s: %w", f.VG, f.Pool, err)
	}
	return p.notes(f.VG, areaOf(tags))
}

// settlePool lets the pool go on in which a stage or snapshot was left half made.
func (f found) settlePool(ctx context.Context, all []lv) error {
	pool, there := named(all, f.Pool)
	if !there {
		return fmt.Errorf("its thin pool %s: %w", f.Pool, driver.ErrNotFound)
	}
	return settleIfNeeded(ctx, pool)
}

// named finds a volume among those of one group.
func named(all []lv, name string) (lv, bool) {
	at := slices.IndexFunc(all, func(v lv) bool { return v.Name == name })
	if at < 0 {
		return lv{}, false
	}
	return all[at], true
}

// Identity implements driver.Stager.
func (k kept) Identity(ctx context.Context, ds driver.Dataset) (string, error) {
	v, _, err := volumeAt(ctx, ds)
	if err != nil {
		return "", fmt.Errorf("identify %s: %w", ds, err)
	}
	return v.UUID, nil
}

// volumeAt is the volume of that name, and all of its group.
func volumeAt(ctx context.Context, ds driver.Dataset) (v lv, all []lv, err error) {
	if err := ctx.Err(); err != nil {
		return v, nil, err
	}
	groups, err := groupsOf([]driver.Dataset{ds})
	if err != nil {
		return v, nil, err
	}
	if all, err = volumes(ctx, groups...); err != nil {
		return v, nil, err
	}
	_, name, _ := split(ds.Name) // groupsOf has looked
	v, there := named(all, name)
	if !there {
		return v, nil, driver.ErrNotFound
	}
	return v, all, nil
}

// withStage lets fn work with a stage that no volsnap discards or swaps meanwhile. all are the volumes of its group.
func withStage(ctx context.Context, st driver.Stage, fn func(f found, all []lv) error) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	v, all, err := volumeAt(ctx, st.Dataset)
	switch {
	case err != nil:
		return err
	case !v.isStage():
		return fmt.Errorf("it is no stage: %w", driver.ErrForeign)
	case v.UUID != st.GUID:
		return fmt.Errorf("it is %s, not %s: %w", v.UUID, st.GUID, driver.ErrForeign)
	}
	return fn(found{lv: v}, all)
}

// Attach implements driver.Stager: at dir. The journal of its file system is replayed, if there is anything in it.
func (k kept) Attach(ctx context.Context, st driver.Stage, dir string) (string, error) {
	err := withStage(ctx, st, func(f found, _ []lv) error {
		already, err := f.mountedAt(dir)
		if err != nil || already {
			return err
		}
		if err := empty(dir); err != nil {
			return err
		}
		return f.attach(ctx, dir)
	})
	if err != nil {
		return "", fmt.Errorf("attach %s at %s: %w", st.Dataset, dir, classify(err))
	}
	return dir, nil
}

func (f found) attach(ctx context.Context, dir string) error {
	m, err := f.awake(ctx, access{mount: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if err != nil {
		return err
	}
	err = errors.Join(m.put(dir), m.close())
	if err != nil {
		err = errors.Join(err, f.deactivate(context.WithoutCancel(ctx)))
	}
	return err
}

// Detach implements driver.Stager.
func (k kept) Detach(ctx context.Context, st driver.Stage, dir string) error {
	err := withStage(ctx, st, func(f found, _ []lv) error {
		mounted, err := f.mountedAt(dir)
		if err != nil {
			return err
		}
		if mounted {
			if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
				return err
			}
		}
		return f.deactivate(ctx)
	})
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return fmt.Errorf("detach %s from %s: %w", st.Dataset, dir, classify(err))
	}
	return nil
}

// mountedAt reports whether what is seen at dir is the top of the volume.
func (v lv) mountedAt(dir string) (bool, error) {
	all, err := v.mounts()
	return slices.ContainsFunc(all, func(m mountinfo.Mount) bool { return m.Point == dir && m.Root == "/" && m.Reachable() }), err
}
