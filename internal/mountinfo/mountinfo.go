// Package mountinfo reads what is mounted, and tells through which mount a path leads.
//
// # A line that cannot be read is an error
//
// A mount that is overlooked may be the one that holds a snapshot in use, hides a volume, or is a writer's other way to
// it. So nothing is left out: one line that is not as proc_pid_mountinfo(5) has it, and none of the mounts is returned.
// No name can make such a line. The kernel parts fields by one space, and escapes space, tab, newline and backslash in
// them.
package mountinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one of the mounts of a mount namespace.
type Mount struct {
	ID      uint64   // its number, as statx(2) tells it; another has it once the mount is gone
	Dev     string   // "major:minor", the same for all mounts of one file system
	Root    string   // what of the file system is mounted: a path from its top
	Point   string   // where
	FS      string   // the kind of file system
	Source  string   // what the file system itself says that it comes from: a device, a dataset
	Options []string // of the mount and of the file system, as the kernel writes them
}

// Read returns the mounts of this process's namespace, in the order in which the kernel lists them: of several at one
// point the last hides the others.
func Read() ([]Mount, error) { return read("/proc/self") }

// Namespaces are the mounts of each mount namespace that a process of this host is in, this process's first, or the error
// of reading them. Left out are namespaces of processes that this one may not look at.
func Namespaces() iter.Seq2[[]Mount, error] {
	return func(yield func([]Mount, error) bool) {
		processes, _ := filepath.Glob("/proc/[0-9]*") // fails for a bad pattern only
		seen := map[string]bool{}
		for _, proc := range append([]string{"/proc/self"}, processes...) {
			ns, err := os.Readlink(proc + "/ns/mnt")
			if err != nil || seen[ns] {
				continue // it has ended, is not ours to look at, or its namespace is known
			}
			all, err := read(proc)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
				continue // it has ended
			}
			seen[ns] = err == nil
			if !yield(all, err) {
				return
			}
		}
	}
}

func read(proc string) ([]Mount, error) {
	text, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	all, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %s/mountinfo: %w", proc, err)
	}
	return all, nil
}

func parse(text string) ([]Mount, error) {
	var all []Mount
	for line := range strings.Lines(text) {
		m, ok := parseLine(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, fmt.Errorf("a line is not understood: %q", line)
		}
		all = append(all, m)
	}
	return all, nil
}

// parseLine splits at single spaces and nothing else: the kernel does not escape other white space, and a source may be
// empty.
func parseLine(line string) (Mount, bool) {
	left, right, ok := strings.Cut(line, " - ") // between them is a number of optional fields
	l, r := strings.Split(left, " "), strings.SplitN(right, " ", 3)
	if !ok || len(l) < 6 || len(r) < 3 {
		return Mount{}, false
	}
	id, err := strconv.ParseUint(l[0], 10, 64)
	return Mount{
		ID: id, Dev: l[2], Root: unescape(l[3]), Point: unescape(l[4]), FS: r[0], Source: unescape(r[1]),
		Options: append(strings.Split(l[5], ","), strings.Split(r[2], ",")...),
	}, err == nil
}

// unescape undoes the kernel's \ooo.
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
