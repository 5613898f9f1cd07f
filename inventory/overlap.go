package inventory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overlap reports whether one of two cleaned absolute paths is the other or lies inside it.
func overlap(a, b string) bool { return inside(a, b) || inside(b, a) }

func inside(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(dir, "/"))
}

// place is a path with its links resolved and, where that is known, what it is inside its file system: the same
// directory can be seen at several mount points.
type place struct {
	path   string
	device string // "major:minor" as in mountinfo; empty if unknown
	inner  string // the path from the file system's own root
}

func (p place) overlaps(o place) bool {
	return overlap(p.path, o.path) || p.device != "" && p.device == o.device && overlap(p.inner, o.inner)
}

// mounts are this process's mounts by their numbers.
type mounts map[uint64]mount

type mount struct{ device, root, point string }

func hostMounts() (mounts, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	m, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return m, nil
}

// parseMounts reads proc(5)'s mountinfo: number, parent, device, root in its file system, mount point, ...
func parseMounts(r io.Reader) (mounts, error) {
	all := mounts{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo: %q", lines.Text())
		}
		id, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("mountinfo: %q: %w", lines.Text(), err)
		}
		all[id] = mount{device: fields[2], root: unescape(fields[3]), point: unescape(fields[4])}
	}
	return all, lines.Err()
}

// unescape undoes the kernel's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// locate finds a path's place. One that does not exist, or not for us, has its path only.
func (m mounts) locate(path string) place {
	p := place{path: filepath.Clean(path)}
	resolved, err := filepath.EvalSymlinks(p.path)
	if err != nil {
		return p
	}
	p.path = resolved
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, resolved, unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return p
	}
	at, ok := m[st.Mnt_id]
	if !ok || !inside(resolved, at.point) {
		return p
	}
	rel, err := filepath.Rel(at.point, resolved)
	if err != nil {
		return p
	}
	p.device, p.inner = at.device, filepath.Join(at.root, rel)
	return p
}
