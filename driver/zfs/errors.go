package zfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
)

// errSuspended is a pool that has lost its devices and waits for them.
var errSuspended = errors.New("the pool is suspended")

// said is what the commands of OpenZFS 2.x say under LC_ALL=C, and what it means (lib/libzfs/libzfs_util.c). The first
// that fits counts.
var said = []struct {
	text  string
	means error
}{
	{"is currently suspended", errSuspended},
	{"checksum mismatch", driver.ErrBadStream},
	{"incomplete stream", driver.ErrBadStream},
	{"invalid backup stream", driver.ErrBadStream},
	{"does not\nmatch incremental source", driver.ErrDiverged},
	{"has been modified\nsince most recent snapshot", driver.ErrDiverged},
	{"it's being held", driver.ErrBusy},
	{"has dependent clones", driver.ErrBusy},
	{"is busy", driver.ErrBusy},
	{"already exists", driver.ErrExists},
	{"does not exist", driver.ErrNotFound},
	{"no such pool", driver.ErrNotFound},
	{"could not find any snapshots to destroy", driver.ErrNotFound},
	{"out of space", driver.ErrNoSpace},
	{"quota exceeded", driver.ErrNoSpace},
	{"No space left on device", driver.ErrNoSpace},
	{"size is greater than available space", driver.ErrNoSpace},
	{"size is less than current used or reserved space", driver.ErrNoSpace},
	{"ermission denied", fs.ErrPermission},
}

// classify puts the contract's word before that of a command.
func classify(err error) error {
	var failed *command.Error
	if err == nil || !errors.As(err, &failed) {
		return err
	}
	return meaning(failed.Stderr, err)
}

func meaning(stderr string, err error) error {
	for _, s := range said {
		if strings.Contains(stderr, s.text) {
			return fmt.Errorf("%w: %w", s.means, err)
		}
	}
	return err
}
