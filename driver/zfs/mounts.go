package zfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	id     int
	root   string // what of the file system is mounted: a path from its top
	point  string // where
	fs     string
	source string // the dataset, or the snapshot
}

func readMounts(pid string) ([]mount, error) {
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
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
	return mount{id: id, root: unescape(l[3]), point: unescape(l[4]), fs: r[0], source: unescape(r[1])}, err == nil
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

// automatic reports whether ZFS has made the mount by itself, because somebody looked into .zfs. It goes when it is in the way.
func (m mount) automatic() bool {
	_, snap, _ := strings.Cut(m.source, "@")
	return strings.HasSuffix(m.point, "/.zfs/snapshot/"+snap)
}

// mountedSnapshots are the snapshots that are mounted in any mount namespace of this host, with one place of each.
func mountedSnapshots() (map[string]string, error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	points, seen := map[string]string{}, map[string]bool{}
	for _, proc := range append([]string{"/proc/self"}, processes...) {
		ns, err := os.Readlink(proc + "/ns/mnt")
		if err != nil || seen[ns] {
			continue // it has ended, is not ours to look at, or its namespace is known
		}
		all, err := readMounts(filepath.Base(proc))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[ns] = true
		for _, m := range all {
			if m.fs == Kind && strings.Contains(m.source, "@") && !m.automatic() {
				points[m.source] = m.point
			}
		}
	}
	return points, nil
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
