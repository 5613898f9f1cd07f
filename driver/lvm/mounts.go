package lvm

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	id    int
	dev   string // "major:minor", of the block device if the file system lies on one
	root  string // what of the file system is mounted: a path from its top
	point string // where
	fs    string
}

// readMounts are the mounts of this process's namespace.
func readMounts() ([]mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var all []mount
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
	return mount{id: id, dev: l[2], root: unescape(l[3]), point: unescape(l[4]), fs: r[0]}, err == nil
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

// containing is the mount through which a path without symbolic links is reached, and its path from the top of the file
// system.
func containing(all []mount, at string) (m mount, inside string, err error) {
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

// mountID is the number of the mount that a path leads to.
func mountID(at string) (int, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, at, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	if err != nil {
		return 0, &os.PathError{Op: "statx", Path: at, Err: err}
	}
	return int(st.Mnt_id), nil
}

// under are the mounts on other file systems below a path, that can be reached.
func under(all []mount, dev, at string) []mount {
	var out []mount
	for _, m := range all {
		rel, in := below(at, m.point)
		if !in || rel == "." || m.dev == dev {
			continue
		}
		if id, err := mountID(m.point); err == nil && id == m.id {
			out = append(out, m)
		}
	}
	return out
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
