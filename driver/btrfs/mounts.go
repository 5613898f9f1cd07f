package btrfs

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	id      int
	dev     string // "major:minor", the same for all mounts of one file system
	root    string // what of the file system is mounted: a path from its top
	point   string // where
	fs      string
	options []string // of the mount and of the file system
	whole   bool     // set by btrfs, which see
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

// place is where something lies on a file system, the same by whatever mount it is reached.
type place struct{ dev, inside string }

// place is the mount's top.
func (m mount) place() place { return place{m.dev, m.root} }

// mounts are the mounts of this host, of all kinds of file systems.
type mounts []mount

func readMounts() (mounts, error) { return mountsOf("self") }

func mountsOf(pid string) (mounts, error) {
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var all mounts
	for line := range strings.Lines(string(text)) {
		if m, ok := parseMount(line); ok {
			all = append(all, m)
		}
	}
	return all, nil
}

func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 2 {
		return mount{}, false
	}
	id, err := strconv.Atoi(l[0])
	m := mount{id: id, dev: l[2], root: unescape(l[3]), point: unescape(l[4]), fs: r[0]}
	m.options = strings.Split(l[5], ",")
	if len(r) > 2 {
		m.options = append(m.options, strings.Split(r[2], ",")...)
	}
	return m, err == nil
}

// unescape undoes the kernel's \ooo for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// btrfs are the Btrfs mounts that can be reached: not hidden under another mount, not of a deleted subvolume, and not of
// one of our own snapshots.
//
// They are whole if mount(8) could make them from the disk alone. Bind mounts of directories are not: they come and go.
// dockerd mounts its data root on itself, and a volume's device on the volume, for as long as somebody uses it.
func (all mounts) btrfs() mounts {
	var out mounts
	for _, m := range all {
		if m.fs != Kind || strings.HasSuffix(m.root, "//deleted") || inStore(m.root) {
			continue
		}
		var st unix.Statx_t
		if err := statx(m.point, unix.STATX_MNT_ID|unix.STATX_INO, &st); err == nil && int(st.Mnt_id) == m.id {
			m.whole = st.Ino == firstFree && !isVolume(m)
			out = append(out, m)
		}
	}
	for i, m := range out {
		out[i].whole = m.whole && !slices.ContainsFunc(out, m.repeats)
	}
	return out
}

// repeats reports whether m shows what could be seen at its mount point through o as well.
func (m mount) repeats(o mount) bool {
	rel, in := below(o.root, m.root)
	return in && rel != "." && o.dev == m.dev && m.point == path.Join(o.point, rel)
}

func statx(at string, mask int, st *unix.Statx_t) error {
	if err := unix.Statx(unix.AT_FDCWD, at, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, st); err != nil {
		return &os.PathError{Op: "statx", Path: at, Err: err}
	}
	return nil
}

// mountID is the number of the mount that a path leads to.
func mountID(at string) (int, error) {
	var st unix.Statx_t
	if err := statx(at, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	return int(st.Mnt_id), nil
}

// containing is the mount through which a path without symbolic links is reached, and its path from the top of the file
// system.
func (all mounts) containing(at string) (m mount, inside string, err error) {
	id, err := mountID(at)
	if err != nil {
		return mount{}, "", err
	}
	i := slices.IndexFunc(all, func(m mount) bool { return m.id == id })
	if i < 0 {
		return mount{}, "", fmt.Errorf("%s: its mount %d is not listed", at, id)
	}
	rel, ok := below(all[i].point, at)
	if !ok {
		return mount{}, "", fmt.Errorf("%s: not below its mount point %s", at, all[i].point)
	}
	return all[i], path.Join(all[i].root, rel), nil
}

// name is the absolute path by which what lies at inside is reached: through the mount whose root is nearest to it, a
// whole one if possible.
func (all mounts) name(dev, inside string) (string, bool) {
	var best *mount
	for _, m := range all {
		if _, in := below(m.root, inside); !in || m.dev != dev {
			continue
		}
		if best == nil || m.whole && !best.whole || m.whole == best.whole && len(m.root) > len(best.root) {
			best = &m
		}
	}
	if best == nil {
		return "", false
	}
	rel, _ := below(best.root, inside)
	return path.Join(best.point, rel), true
}

// below is the path from dir to at, "." if they are the same, where at is dir or lies below it. Both are clean.
func below(dir, at string) (rel string, ok bool) {
	if dir == at {
		return ".", true
	}
	if dir != "/" {
		dir += "/"
	}
	return strings.CutPrefix(at, dir)
}
