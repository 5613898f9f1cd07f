package btrfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// classify puts the contract's word before the kernel's.
func classify(err error) error {
	for _, c := range []struct{ errno, means error }{
		{unix.ENOSPC, driver.ErrNoSpace},
		{unix.EDQUOT, driver.ErrNoSpace},
		{unix.EEXIST, driver.ErrExists},
		{unix.ENOENT, driver.ErrNotFound},
		{unix.EBUSY, driver.ErrBusy},
		{unix.ENOTTY, driver.ErrNotSupported},
	} {
		if errors.Is(err, c.errno) && !errors.Is(err, c.means) {
			return fmt.Errorf("%w: %w", c.means, err)
		}
	}
	return err
}
