package inventory

import (
	"path/filepath"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// overlap reports whether one of two cleaned absolute paths is the other or lies inside it.
func overlap(a, b string) bool { return inside(a, b) || inside(b, a) }

func inside(path, dir string) bool {
	_, ok := mountinfo.Below(dir, path)
	return ok
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

// within reports whether p is o or lies inside it.
func (p place) within(o place) bool {
	return inside(p.path, o.path) || p.device != "" && p.device == o.device && inside(p.inner, o.inner)
}

// locate finds a path's place. One that does not exist, or not for us, has its path only.
func locate(path string, host []mountinfo.Mount) place {
	p := place{path: filepath.Clean(path)}
	resolved, err := filepath.EvalSymlinks(p.path)
	if err != nil {
		return p
	}
	p.path = resolved
	if m, inner, err := mountinfo.Containing(host, resolved); err == nil {
		p.device, p.inner = m.Dev, inner
	}
	return p
}
