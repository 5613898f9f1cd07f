package lvm

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
)

// words of LVM 2.03 under LC_ALL=C, and of the kernel, and what they mean to a caller.
var words = []struct {
	part  string
	means error
}{
	{"already exists in volume group", driver.ErrExists},
	{"Failed to find logical volume", driver.ErrNotFound},
	{"\" not found", driver.ErrNotFound}, // Volume group "x" not found
	{" in use.", driver.ErrBusy},
	{"contains a filesystem in use", driver.ErrBusy},
	{"is used by another device", driver.ErrBusy},
	{"free space in thin pool", driver.ErrNoSpace}, // ... reached threshold
	{"insufficient free space", driver.ErrNoSpace},
	{"too large for circular buffer", driver.ErrNoSpace}, // the metadata area of the volume group
}

var numbers = []struct{ errno, means error }{
	{unix.ENOSPC, driver.ErrNoSpace},
	{unix.ENOENT, driver.ErrNotFound},
	{unix.EBUSY, driver.ErrBusy},
}

// classify puts the contract's word before LVM's or the kernel's.
func classify(err error) error {
	var failed *command.Error
	if errors.As(err, &failed) && failed.Err == nil {
		for _, w := range words {
			if strings.Contains(failed.Stderr, w.part) && !errors.Is(err, w.means) {
				return fmt.Errorf("%w: %w", w.means, err)
			}
		}
	}
	for _, n := range numbers {
		if errors.Is(err, n.errno) && !errors.Is(err, n.means) {
			return fmt.Errorf("%w: %w", n.means, err)
		}
	}
	return err
}
