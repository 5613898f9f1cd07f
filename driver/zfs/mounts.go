package zfs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// automatic reports whether ZFS has made the mount by itself, because somebody looked into .zfs. It goes when it is in the way.
func automatic(m mountinfo.Mount) bool {
	_, snap, _ := strings.Cut(m.Source, "@")
	return strings.HasSuffix(m.Point, "/.zfs/snapshot/"+snap)
}

// mountedSnapshots are the snapshots that are mounted in any mount namespace of this host, with one place of each.
func mountedSnapshots() (map[string]string, error) {
	points := map[string]string{}
	for all, err := range mountinfo.Namespaces() {
		if errors.Is(err, fs.ErrPermission) {
			continue // not ours to look at
		}
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if m.FS == Kind && strings.Contains(m.Source, "@") && !automatic(m) {
				points[m.Source] = m.Point
			}
		}
	}
	return points, nil
}
