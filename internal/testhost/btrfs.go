package testhost

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Btrfs mounts a fresh Btrfs of size bytes (at least 128 MiB) from a sparse image on a loop device, and returns its mount
// point: an absolute path without symbolic links. What the test mounts below it is unmounted with it.
func Btrfs(t testing.TB, size int64) string {
	t.Helper()
	return StartPool(t, PartBtrfs, size).Top
}

// NewBtrfs is Btrfs outside a test. The caller must call unmount. What else the caller puts into the directory that holds
// the mount point goes with it.
func NewBtrfs(size int64) (mnt string, unmount func() error, err error) {
	p, unmount, err := NewPool(PartBtrfs, size)
	if err != nil {
		return "", nil, err
	}
	return p.Top, unmount, nil
}

// createBtrfs leaves nothing to be removed: the loop device that "mount -o loop" makes is freed by the kernel with its last
// mount.
func createBtrfs(p *Pool, image string) error {
	if err := run("mkfs.btrfs", "-q", image); err != nil {
		return err
	}
	return run("mount", "-t", "btrfs", "-o", "loop", image, p.Top)
}

func haveBtrfs() error {
	if err := havePrograms("mkfs.btrfs"); err != nil {
		return err
	}
	if err := run("modprobe", "-q", "btrfs"); err != nil {
		known, readErr := os.ReadFile("/proc/filesystems")
		if readErr != nil || !strings.Contains(string(known), "\tbtrfs\n") {
			return fmt.Errorf("the kernel has no btrfs: %w", err)
		}
	}
	return haveLoop()
}

func haveLoop() error {
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return errors.Join(errors.New("no loop devices"), err)
	}
	return nil
}
