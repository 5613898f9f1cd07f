package testhost

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
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
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return nil, errors.New("/proc/self/mountinfo has a line that is too short")
		}
		if at := unescape(fields[4]); strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	return found, nil
}

// unescape undoes what the kernel does to white space and backslashes in paths: "\040".
func unescape(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if c, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}
