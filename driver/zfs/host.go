package zfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/volsnap/volsnap/internal/command"
)

// host is where the kernel shows its pools, without a command and without waiting for a pool.
type host struct {
	device string // there once the module is loaded
	kstat  string // has a directory for each imported pool, with its state
}

var thisHost = host{device: "/dev/zfs", kstat: "/proc/spl/kstat/zfs"}

// stateSuspended is the state of a pool whose commands hang.
const stateSuspended = "SUSPENDED"

// pools are the imported pools.
func (h host) pools() ([]string, error) {
	if _, err := os.Stat(h.device); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	entries, err := os.ReadDir(h.kstat)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 || err != nil {
		return nil, err
	}
	if _, err := command.LookPath("zfs"); err != nil {
		return nil, fmt.Errorf("the pools %s are imported, but the command zfs is not to be had: %w", strings.Join(names, ", "), err)
	}
	return names, nil
}

// imported reports whether the pool of a dataset is there.
func (h host) imported(dataset string) bool {
	st, err := os.Stat(filepath.Join(h.kstat, poolOf(dataset)))
	return err == nil && st.IsDir()
}

// awake is errSuspended for the dataset of a pool that would let us hang.
func (h host) awake(dataset string) error {
	pool := poolOf(dataset)
	state, err := os.ReadFile(filepath.Join(h.kstat, pool, "state"))
	if err == nil && strings.TrimSpace(string(state)) == stateSuspended {
		return fmt.Errorf("%s: %w", pool, errSuspended)
	}
	return nil // one that is not imported, or of an older module, says so itself
}
