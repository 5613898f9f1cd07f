package btrfs

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// place is where something lies on a file system, the same by whatever mount it is reached.
type place struct{ dev, inside string }

// topOf is the place of the mount's top.
func topOf(m mountinfo.Mount) place { return place{m.Dev, m.Root} }

// mounts are the Btrfs mounts that can be reached: not hidden under another mount, not of a deleted subvolume, and not of
// one of our own snapshots.
//
// Whole are those that mount(8) could make from the disk alone. Bind mounts of directories are not: they come and go.
// dockerd mounts its data root on itself, and a volume's device on the volume, for as long as somebody uses it.
type mounts struct {
	all   []mountinfo.Mount
	whole []mountinfo.Mount
}

func mountsOf(all []mountinfo.Mount) mounts {
	var ms mounts
	for _, m := range all {
		if m.FS != Kind || strings.HasSuffix(m.Root, "//deleted") || inStore(m.Root) || !m.Reachable() {
			continue
		}
		ms.all = append(ms.all, m)
		var st unix.Stat_t
		if err := unix.Lstat(m.Point, &st); err == nil && st.Ino == firstFree && !isVolume(m) {
			ms.whole = append(ms.whole, m)
		}
	}
	ms.whole = slices.DeleteFunc(ms.whole, func(m mountinfo.Mount) bool {
		return slices.ContainsFunc(ms.all, func(o mountinfo.Mount) bool { return repeats(m, o) })
	})
	return ms
}

// repeats reports whether m shows what could be seen at its mount point through o as well.
func repeats(m, o mountinfo.Mount) bool {
	rel, in := mountinfo.Below(o.Root, m.Root)
	return in && rel != "." && o.Dev == m.Dev && m.Point == path.Join(o.Point, rel)
}

// name is the absolute path by which what lies at inside is reached: through the mount whose root is nearest to it, a
// whole one if possible.
func (ms mounts) name(dev, inside string) (string, bool) {
	m, ok := nearest(ms.whole, dev, inside)
	if !ok {
		m, ok = nearest(ms.all, dev, inside)
	}
	if !ok {
		return "", false
	}
	rel, _ := mountinfo.Below(m.Root, inside)
	return path.Join(m.Point, rel), true
}

// nearest is the mount that shows what lies at inside with the fewest directories above it.
func nearest(all []mountinfo.Mount, dev, inside string) (best mountinfo.Mount, found bool) {
	for _, m := range all {
		if _, in := mountinfo.Below(m.Root, inside); in && m.Dev == dev && (!found || len(m.Root) > len(best.Root)) {
			best, found = m, true
		}
	}
	return best, found
}
