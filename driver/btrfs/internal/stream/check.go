package stream

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/dennwc/btrfs"
)

// sizeOf is how many bytes an attribute has, -1 if that differs.
func sizeOf(a attr) int {
	switch a {
	case aUUID, aCloneUUID:
		return btrfs.UUIDSize
	case aCtime, aMtime, aAtime, aOtime:
		return 12 // seconds and nanoseconds
	case aAllocateMode, aCompression, aEncryption:
		return 4
	case aPath, aPathTo, aPathLink, aClonePath, aXattrName, aXattrData, aData:
		return -1
	}
	return 8
}

// check finds what is wrong with the attributes of a command.
func (r *Reader) check(op Op) error {
	c, ok := commandOf(op)
	if !ok || c.since > r.version {
		return fmt.Errorf("%s is not in version %d", op, r.version)
	}
	for _, a := range c.needs {
		if r.attrs[a] == nil {
			return fmt.Errorf("%s: has no attribute %d", op, a)
		}
	}
	for i, value := range r.attrs {
		if want := sizeOf(attr(i)); value != nil && want >= 0 && len(value) != want {
			return fmt.Errorf("%s: attribute %d has %d bytes, not %d", op, i, len(value), want)
		}
	}
	for _, a := range []attr{aPath, aPathTo, aPathLink, aClonePath} {
		if !slices.Contains(c.needs, a) {
			continue
		}
		if a == aPathLink && op == Symlink {
			if err := checkTarget(r.attrs[a]); err != nil {
				return fmt.Errorf("%s: %w", op, err)
			}
			continue
		}
		if a == aPath && c.onTop && len(r.attrs[a]) == 0 {
			continue
		}
		if err := checkPath(r.attrs[a]); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	name := r.attrs[aXattrName]
	if slices.Contains(c.needs, aXattrName) && (len(name) == 0 || len(name) > 255 || bytes.IndexByte(name, 0) >= 0) {
		return fmt.Errorf("%s: the extended attribute %.300q", op, name)
	}
	return nil
}

// pathMax is PATH_MAX of Linux, with the zero at the end.
const pathMax = 4096

// checkPath accepts paths that stay below where they begin, if no symbolic link is on the way.
func checkPath(p []byte) error {
	if len(p) == 0 || len(p) >= pathMax || bytes.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("the path %.300q", p)
	}
	for name := range strings.SplitSeq(string(p), "/") {
		if name == "" || name == "." || name == ".." || len(name) > 255 {
			return fmt.Errorf("the path %.300q", p)
		}
	}
	return nil
}

func checkTarget(p []byte) error {
	if len(p) == 0 || len(p) >= pathMax || bytes.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("a symbolic link to %.300q", p)
	}
	return nil
}
