package zfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

const fewNames = 3 // of many, so many are named

// findings is what an operator should know of a place before its first snapshot.
func (d *Driver) findings(ctx context.Context, at *located) ([]driver.Finding, error) {
	if _, err := command.LookPath("zfs"); err != nil {
		return one(driver.Error, "install zfsutils-linux, or put it in $PATH", "the command zfs is not to be had: %v", err), nil
	}
	p, err := d.pool(ctx, poolOf(at.via.Source))
	if err != nil {
		return nil, err
	}
	found := p.findings()
	if p.health == stateSuspended {
		return found, nil // what follows would hang
	}
	versions, err := run(ctx, "zfs", "version")
	if err == nil {
		found = append(found, mismatch(versions)...)
	}
	sets, err := fileSystems(ctx, p.name)
	if err != nil {
		return nil, err
	}
	rights, err := missingRights(ctx, at.via.Source, needed)
	if err != nil {
		return nil, err
	}
	return slices.Concat(found, rights, at.key(sets), at.unmounted(sets), at.nested(), at.covered(), at.shared()), nil
}

func one(level driver.Level, mend, format string, args ...any) []driver.Finding {
	return []driver.Finding{{Level: level, What: fmt.Sprintf(format, args...), Mend: mend}}
}

// pool is what zpool-list(8) says of one.
type pool struct {
	name, health string
	readOnly     bool
}

func (d *Driver) pool(ctx context.Context, name string) (pool, error) {
	if errors.Is(d.host.awake(name), errSuspended) {
		return pool{name: name, health: stateSuspended}, nil
	}
	p := pool{name: name}
	err := list(ctx, false, func(f []string) error {
		if len(f) != 3 || f[0] != name {
			return fmt.Errorf("zpool list: what is %q?", f)
		}
		p.health, p.readOnly = f[1], f[2] == "on"
		return nil
	}, "zpool", "list", "-H", "-o", "name,health,readonly", name)
	return p, err
}

func (p pool) findings() (found []driver.Finding) {
	status := "see zpool status " + quote(p.name)
	switch p.health {
	case "ONLINE":
	case "DEGRADED":
		found = one(driver.Warning, "replace the device: "+status, "the pool %s is degraded: a device is missing", p.name)
	case stateSuspended:
		found = one(driver.Error, "bring the device back, then zpool clear "+quote(p.name),
			"the pool %s is suspended: it has lost its devices, and whoever writes to it hangs", p.name)
	default:
		found = one(driver.Error, status, "the pool %s is %s", p.name, p.health)
	}
	if p.readOnly {
		found = append(found, one(driver.Error, "zpool export, then import it without readonly=on",
			"the pool %s was imported read-only: no snapshot can be made in it", p.name)...)
	}
	return found
}

// mismatch finds commands and kernel module of two releases, which need not understand each other.
func mismatch(versions string) []driver.Finding {
	user, kernel, two := strings.Cut(strings.TrimSpace(versions), "\n")
	user, kernel = strings.TrimPrefix(user, "zfs-"), strings.TrimPrefix(kernel, "zfs-kmod-")
	release := func(v string) string { return strings.SplitN(v, "-", 2)[0] }
	if !two || release(user) == release(kernel) {
		return nil
	}
	return one(driver.Warning, "reboot, or reload the module zfs, so that both are of one release",
		"the commands are of ZFS %s and the kernel module is of %s", user, kernel)
}

// fileSystem is a file system of the pool, and whether it is where it should be.
type fileSystem struct {
	name, point, key string
	mounted, should  bool
}

func fileSystems(ctx context.Context, pool string) ([]fileSystem, error) {
	var all []fileSystem
	err := list(ctx, false, func(f []string) error {
		if len(f) != 5 {
			return fmt.Errorf("zfs list: what is %q?", f)
		}
		all = append(all, fileSystem{
			name: f[0], point: f[1], key: f[4], mounted: f[2] == "yes", should: f[3] == "on" && path.IsAbs(f[1]),
		})
		return nil
	}, "zfs", "list", "-Hp", "-r", "-t", "filesystem", "-o", "name,mountpoint,mounted,canmount,keystatus", pool)
	return all, err
}

// key finds that the dataset can be snapshotted, but its snapshots not read.
func (at *located) key(sets []fileSystem) []driver.Finding {
	for _, fs := range sets {
		if fs.name == at.via.Source && fs.key == "unavailable" {
			return one(driver.Warning, "zfs load-key "+quote(fs.name),
				"the key of %s is not loaded: its snapshots are made and kept all the same, but cannot be mounted or restored", fs.name)
		}
	}
	return nil
}

// unmounted finds file systems that should be mounted above the path, so that it is another's, or below.
func (at *located) unmounted(sets []fileSystem) (found []driver.Finding) {
	for _, fs := range sets {
		_, above := mountinfo.Below(fs.point, at.real)
		_, under := mountinfo.Below(at.real, fs.point)
		if fs.mounted || !fs.should || fs.name == at.via.Source || !above && !under || above && len(fs.point) < len(at.via.Point) {
			continue
		}
		mend := "zfs mount " + quote(fs.name)
		why := ""
		if fs.key == "unavailable" {
			mend, why = "zfs load-key, then "+mend, ", since its encryption key is not loaded"
		}
		what := "holds what belongs below"
		if above {
			what = "holds what belongs at"
		}
		found = append(found, one(driver.Error, mend, "%s %s %s, and is not mounted%s", fs.name, what, at.real, why)...)
	}
	return found
}

// nested finds file systems of ZFS in the volume: a snapshot has empty directories in their places.
func (at *located) nested() []driver.Finding {
	names := at.within(func(m mountinfo.Mount) bool { return m.FS == Kind && m.Source != at.via.Source })
	if len(names) == 0 {
		return nil
	}
	return one(driver.Error, "make a plain directory of each, or name them as volumes of their own and not this one",
		"other datasets lie in it and would be empty in the snapshot: %s", listFew(names))
}

// covered finds other file systems mounted in the volume: a snapshot has what lies under them.
func (at *located) covered() []driver.Finding {
	names := at.within(func(m mountinfo.Mount) bool { return m.FS != Kind || m.Source == at.via.Source })
	if len(names) == 0 {
		return nil
	}
	return one(driver.Warning, "name what is mounted there as a volume of its own, if it matters",
		"other file systems are mounted in it and would not be in the snapshot: %s", listFew(names))
}

func (at *located) within(is func(mountinfo.Mount) bool) (names []string) {
	for _, m := range at.all {
		if rel, in := mountinfo.Below(at.real, m.Point); in && rel != "." && !strings.Contains(m.Source, "@") && is(m) {
			names = append(names, quote(m.Point))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// shared tells what else a snapshot holds.
func (at *located) shared() []driver.Finding {
	if at.rel == "." {
		return nil
	}
	i := slices.IndexFunc(at.all, func(m mountinfo.Mount) bool { return m.Source == at.via.Source && m.Root == "/" })
	also := "what else the snapshot holds cannot be seen, since its top is not mounted"
	if i >= 0 {
		mine, _, _ := strings.Cut(at.rel, "/")
		var others []string
		names, err := mountinfo.Names(at.all[i].Point)
		for _, name := range names {
			if name != mine {
				others = append(others, quote(name))
			}
		}
		switch {
		case err != nil:
			also = "what else the snapshot holds cannot be read: " + err.Error()
		case len(others) == 0:
			return nil // as Docker's _data in a dataset of the volume
		default:
			also = "the snapshot also holds " + listFew(others)
		}
	}
	return one(driver.Note, "", "%s lies in the larger dataset %s; %s", at.real, at.via.Source, also)
}

func listFew(names []string) string {
	if more := len(names) - fewNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:fewNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

// quote quotes a name if it could be misread.
func quote(name string) string {
	if q := fmt.Sprintf("%q", name); strings.Contains(name, " ") || q != `"`+name+`"` {
		return q
	}
	return name
}
