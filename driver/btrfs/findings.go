package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

const (
	fewNames  = 3          // of many, so many are named
	noCoWFlag = 0x00800000 // FS_NOCOW_FL of linux/fs.h: chattr +C
)

// findings is what an operator should know of a place before its first snapshot.
func (at *located) findings() []driver.Finding {
	var all []driver.Finding
	for _, find := range []func(*located) []driver.Finding{
		(*located).reach, (*located).shared, (*located).nested, (*located).covered, (*located).noCoW, (*located).mountOptions,
		(*located).quotas, (*located).received,
	} {
		all = append(all, find(at)...)
	}
	return all
}

func one(level driver.Level, mend, format string, args ...any) []driver.Finding {
	return []driver.Finding{{Level: level, What: fmt.Sprintf(format, args...), Mend: mend}}
}

// reach finds what makes snapshots impossible.
func (at *located) reach() []driver.Finding {
	const mountTop = "mount the top of the file system elsewhere too (mount -o subvolid=5), outside of any volume"
	switch {
	case inStore(at.inside):
		return one(driver.Error, "name a volume", "%s lies among volsnap's own snapshots", at.real)
	case !text(at.inside):
		return one(driver.Error, "rename it", "the path %q is not UTF-8", at.real)
	case !at.named:
		return one(driver.Error, mountTop, "no mount reaches the top of its subvolume %q", at.top)
	}
	_, err := at.mounts.home(at.via.Dev, at.top, at.rel == ".")
	switch {
	case errors.Is(err, errReadOnly):
		return one(driver.Error, "mount -o remount,rw "+quote(at.via.Point), "%s: %v", at.real, err)
	case err != nil:
		return one(driver.Error, mountTop, "%s is the top of a mount, and %v", at.real, err)
	}
	return nil
}

// shared tells what else a snapshot holds.
func (at *located) shared() []driver.Finding {
	if at.rel == "." || !at.named {
		return nil
	}
	mine, _, _ := strings.Cut(at.rel, "/")
	var others []string
	names, err := mountinfo.Names(at.name)
	for _, name := range names {
		if name != mine && name != storeName {
			others = append(others, quote(name))
		}
	}
	also := "the snapshot also holds " + listFew(others)
	switch {
	case err != nil:
		also = "what else the snapshot holds cannot be read: " + err.Error()
	case len(others) == 0:
		return nil // as Docker's _data in a subvolume of the volume's name
	}
	return one(driver.Note, "", "%s lies in the larger subvolume %s; %s", at.real, at.name, also)
}

// nested finds subvolumes in the volume: a snapshot has empty directories in their places.
func (at *located) nested() []driver.Finding {
	const mend = "make a plain directory of each: mv, mkdir, cp -a --reflink, btrfs subvolume delete"
	in, err := subvolsIn(at.file, at.subvol.id)
	if err != nil {
		return one(driver.Error, "run as root", "nested subvolumes cannot be looked for: %v", err)
	}
	var found []string
	dirs := map[uint64]string{}
	for _, s := range in {
		dir, known := dirs[s.dir]
		if !known {
			if dir, err = dirPath(at.file, at.subvol.id, s.dir); err != nil {
				continue // removed meanwhile, with what was in it
			}
			dirs[s.dir] = dir
		}
		rel := path.Join(dir, s.name)
		if _, inVolume := mountinfo.Below(at.rel, rel); (inVolume || at.rel == ".") && !inStore(rel) {
			found = append(found, quote(path.Join(at.name, rel)))
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return one(driver.Error, mend, "subvolumes lie in it and would be empty in the snapshot: %s", listFew(found))
}

// covered finds other file systems mounted in the volume: a snapshot has what lies under them.
func (at *located) covered() []driver.Finding {
	var found []string
	for _, point := range mountinfo.PointsIn(at.all, at.real) {
		found = append(found, quote(point))
	}
	if len(found) == 0 {
		return nil
	}
	return one(driver.Warning, "name what is mounted there as a volume of its own, if it matters",
		"other file systems are mounted in it and would not be in the snapshot: %s", listFew(found))
}

// noCoW finds data that Btrfs keeps without checksums.
func (at *located) noCoW() []driver.Finding {
	flags, err := unix.IoctlGetInt(int(at.file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&noCoWFlag == 0 {
		return nil
	}
	return one(driver.Warning, "chattr -C on an empty directory, then copy the data into it",
		"%s is nodatacow: its files have no checksums, and the first write after each snapshot is copied nevertheless", at.real)
}

// mountOptions finds options that weaken what a snapshot promises.
func (at *located) mountOptions() []driver.Finding {
	var all []driver.Finding
	for _, o := range []struct{ name, why string }{
		{"nodatacow", "files have no checksums"},
		{"nodatasum", "files have no checksums"},
		{"nobarrier", "a power cut can destroy the file system with all of its snapshots"},
		{"degraded", "a device is missing"},
	} {
		if slices.Contains(at.via.Options, o.name) {
			all = append(all, one(driver.Warning, "mount without "+o.name, "mounted with %s: %s", o.name, o.why)...)
		}
	}
	return all
}

// quotas finds quota groups: the kernel counts again what is shared for each snapshot that is destroyed.
func (at *located) quotas() []driver.Finding {
	if _, err := os.Stat("/sys/fs/btrfs/" + at.pool + "/qgroups"); err != nil {
		return nil
	}
	return one(driver.Warning, "btrfs quota disable "+quote(at.name),
		"quotas are on: destroying snapshots can hold up the whole file system")
}

// received finds a writable subvolume that still says that it was received.
func (at *located) received() []driver.Finding {
	if at.subvol.received.IsZero() || at.subvol.readOnly {
		return nil
	}
	return one(driver.Warning, "snapshot it writable, and use that one in its place",
		"%s was received and made writable in place: its snapshots would pass for what was received (btrbk#152)", at.name)
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
