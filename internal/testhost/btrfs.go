package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// btrfsDir starts the names of the directories that hold an image and its mount point; the process id follows.
const btrfsDir = "volsnap-test-btrfs-"

// Btrfs mounts a fresh Btrfs of size bytes (at least 128 MiB) from a sparse image on a loop device, and returns its mount
// point: an absolute path without symbolic links. What the test mounts below it is unmounted with it.
func Btrfs(t testing.TB, size int64) string {
	t.Helper()
	Require(t, PartBtrfs, haveBtrfs())
	mnt, unmount, err := NewBtrfs(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

// NewBtrfs is Btrfs outside a test. The caller must call unmount. What else the caller puts into the directory that holds
// the mount point goes with it.
func NewBtrfs(size int64) (mnt string, unmount func() error, err error) {
	if err := haveBtrfs(); err != nil {
		return "", nil, fmt.Errorf("make Btrfs: %w", err)
	}
	sweepBtrfs()
	dir, err := os.MkdirTemp(diskDir(), btrfsDir+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", nil, fmt.Errorf("make Btrfs: %w", err)
	}
	mnt, err = mountBtrfs(dir, size)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("make Btrfs: %w", err), removeBtrfs(dir))
	}
	return mnt, func() error { return removeBtrfs(dir) }, nil
}

func mountBtrfs(dir string, size int64) (mnt string, err error) {
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(mnt, 0o755)); err != nil {
		return "", err
	}
	// The loop device that "mount -o loop" makes is freed by the kernel with its last mount.
	for _, argv := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-t", "btrfs", "-o", "loop", image, mnt}} {
		if err := run(argv...); err != nil {
			return "", err
		}
	}
	return mnt, nil
}

func haveBtrfs() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		return err
	}
	if err := run("modprobe", "-q", "btrfs"); err != nil {
		known, readErr := os.ReadFile("/proc/filesystems")
		if readErr != nil || !strings.Contains(string(known), "\tbtrfs\n") {
			return fmt.Errorf("the kernel has no btrfs: %w", err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("no loop devices: %w", err)
	}
	return nil
}

// diskDir is a temporary directory that does not live in memory, if the host has one.
func diskDir() string {
	dir := os.TempDir()
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC && unix.Access("/var/tmp", unix.W_OK) == nil {
		dir = "/var/tmp"
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// sweepBtrfs removes what processes that are no more left behind. What it cannot remove is left to the next one; another
// process may be sweeping the same.
func sweepBtrfs() {
	left, _ := filepath.Glob(filepath.Join(diskDir(), btrfsDir+"*"))
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), btrfsDir), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = removeBtrfs(dir)
		}
	}
}

func removeBtrfs(dir string) error {
	mnt := filepath.Join(dir, "mnt")
	if mounted(mnt) && run("umount", "-R", mnt) != nil { // something in it is still open
		if err := run("umount", "-R", "-l", mnt); err != nil {
			return fmt.Errorf("the loop device stays: %w", err)
		}
	}
	return os.RemoveAll(dir)
}

func mounted(dir string) bool {
	var here, above unix.Stat_t
	return unix.Lstat(dir, &here) == nil && unix.Lstat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
