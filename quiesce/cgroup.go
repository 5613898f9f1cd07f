package quiesce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// errNoCgroup says that the container's control group was not found: it runs elsewhere, or no more.
var errNoCgroup = errors.New("the container's freezer control group was not found")

// thawCgroup lets a container go without Docker, by the kernel's freezer, which is what Docker's pause uses. It is for the
// time when Docker does not answer.
func thawCgroup(e Entry) error { return writeFreezer(e, "THAWED", "0") }

// frozenCgroup tells whether the container is frozen now.
func frozenCgroup(e Entry) bool {
	file, isV2, err := freezerFile(e)
	if err != nil {
		return false
	}
	value, err := os.ReadFile(file)
	want := "FROZEN"
	if isV2 {
		want = "1"
	}
	return err == nil && strings.TrimSpace(string(value)) == want
}

func freezeCgroup(e Entry) error { return writeFreezer(e, "FROZEN", "1") }

func writeFreezer(e Entry, v1, v2 string) error {
	file, isV2, err := freezerFile(e)
	if err != nil {
		return err
	}
	value := v1
	if isV2 {
		value = v2
	}
	return os.WriteFile(file, []byte(value), 0)
}

// freezerFile finds the file that freezes and thaws the entry's container: freezer.state of control groups v1, cgroup.freeze
// of v2 (kernel: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst). The group's path has to name
// the container, so a PID that was used again can't lead to somebody else's group.
func freezerFile(e Entry) (path string, isV2 bool, err error) {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.PID))
	if err != nil || len(e.Container) < 64 {
		return "", false, errNoCgroup
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], e.Container) {
			continue
		}
		for _, c := range []struct {
			match bool
			file  string
			v2    bool
		}{
			{parts[1] == "freezer", filepath.Join("/sys/fs/cgroup/freezer", parts[2], "freezer.state"), false},
			{parts[0] == "0", filepath.Join("/sys/fs/cgroup", parts[2], "cgroup.freeze"), true},
			{parts[0] == "0", filepath.Join("/sys/fs/cgroup/unified", parts[2], "cgroup.freeze"), true},
		} {
			if !c.match {
				continue
			}
			if _, err := os.Stat(c.file); err == nil {
				return c.file, c.v2, nil
			}
		}
	}
	return "", false, errNoCgroup
}
