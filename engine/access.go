package engine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// scarce is less than what a run writes of manifests and reports.
const scarce = 256 << 10 // bytes

// access asks whether this process may make files in dir; a read-only file system says no, whoever asks, and so does a full one.
func access(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := st.Bavail * uint64(st.Bsize); st.Blocks > 0 && free < scarce {
		return fmt.Errorf("%w: %d bytes are left", unix.ENOSPC, free)
	}
	if st.Files > 0 && st.Ffree == 0 {
		return fmt.Errorf("%w for another file", unix.ENOSPC)
	}
	return nil
}
