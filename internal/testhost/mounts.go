package testhost

import (
	"fmt"
	"slices"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// unmountBelow unmounts whatever is mounted below dir, the last first. What is still in use is taken out of sight, which
// lets go of it when its last user ends.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, at := range slices.Backward(mounts) {
		if run("umount", at) != nil {
			_ = run("umount", "--lazy", at) // looked at below
		}
	}
	left, err := mountsBelow(dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("still mounted: %q", left)
	}
	return err
}

// mountsBelow are the mount points below dir, in the order in which they were mounted.
func mountsBelow(dir string) (found []string, err error) {
	all, err := mountinfo.Read()
	for _, m := range all {
		if rel, in := mountinfo.Below(dir, m.Point); in && rel != "." {
			found = append(found, m.Point)
		}
	}
	return found, err
}
