package zfs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// automatic reports whether ZFS has made the mount by itself, because somebody looked into .zfs.
func automatic(m mountinfo.Mount) bool {
	_, snap, _ := strings.Cut(m.Source, "@")
	return strings.HasSuffix(m.Point, "/.zfs/snapshot/"+snap)
}

// mounted is a mount of a file system, in this process's mount namespace or another one.
type mounted struct {
	mountinfo.Mount
	own bool
}

// mountsOf are the mounts of a file system, or of parts of it, in any mount namespace of this host that can be looked at.
func mountsOf(name string) ([]mounted, error) {
	var out []mounted
	own := true
	for all, err := range mountinfo.Namespaces() {
		if errors.Is(err, fs.ErrPermission) && !own {
			continue // not ours to look at
		}
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if m.FS == Kind && m.Source == name {
				out = append(out, mounted{m, own})
			}
		}
		own = false
	}
	return out, nil
}

// inTheWay are those of the snapshots that are mounted in any mount namespace of this host, with one place of each. Mounts
// that ZFS has made by itself are unmounted, as it would do some minutes later or when the snapshot is destroyed; they are in
// the way only where somebody is in there now.
func inTheWay(snapshots map[string]seen) (map[string]string, error) {
	points := map[string]string{}
	namespaces := 0
	for all, err := range mountinfo.Namespaces() {
		namespaces++
		own := namespaces == 1 // a mount can be unmounted there alone
		if errors.Is(err, fs.ErrPermission) {
			continue // not ours to look at
		}
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if _, asked := snapshots[m.Source]; !asked || m.FS != Kind {
				continue
			}
			if !automatic(m) || own && errors.Is(unmount(m.Point), driver.ErrBusy) {
				points[m.Source] = m.Point
			}
		}
	}
	return points, nil
}
