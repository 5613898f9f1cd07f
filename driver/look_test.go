package driver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// What a killed process has left mounted is unmounted, and what others have mounted is not.
func TestSweepLooks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dead := filepath.Join(dir, fmt.Sprintf("look-%d-1", cmd.Process.Pid))
	bare := filepath.Join(dir, fmt.Sprintf("look-%d-2", cmd.Process.Pid))
	alive := filepath.Join(dir, fmt.Sprintf("look-%d-3", os.Getpid()))
	other := filepath.Join(dir, "other")
	for _, at := range []string{dead, bare, alive, other} {
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if at == bare {
			continue
		}
		if err := unix.Mount("volsnap-test", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, 0) }) // it may be gone
	}
	if err := driver.SweepLooks(dir); err != nil {
		t.Fatal(err)
	}
	for at, stays := range map[string]bool{dead: false, bare: false, alive: true, other: true} {
		if _, err := os.Stat(at); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(at), err)
		}
	}
}
