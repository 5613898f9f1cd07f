package mountinfo

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names are the names in a directory, sorted, of what lies on the directory's own file system: without what is mounted there,
// and without other subvolumes of a Btrfs, each of which has a device number of its own (stat(2), st_dev).
func Names(dir string) ([]string, error) {
	var top unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &st); err == nil && st.Dev != top.Dev {
			continue
		}
		names = append(names, e.Name())
	}
	return names, nil
}
