package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
)

// shows is a Mounter that puts a file where a snapshot is to be mounted.
type shows struct{ fail error }

func (s shows) Mount(_ context.Context, one driver.Snapshot, dir string) (func(context.Context) error, error) {
	file := filepath.Join(dir, one.GUID)
	return func(context.Context) error { return os.Remove(file) }, errors.Join(s.fail, os.WriteFile(file, []byte("x"), 0o600))
}

func TestDigestOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mounts")
	d, err := replicate.DigestOf(t.Context(), shows{}, driver.Snapshot{GUID: "g"}, dir)
	if err != nil || d.Files != 2 || d.Bytes != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a killed process has left mounted is unmounted, and what others have mounted is not.
func TestSweepMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dead := filepath.Join(dir, fmt.Sprintf("digest-%d-1", cmd.Process.Pid))
	bare := filepath.Join(dir, fmt.Sprintf("digest-%d-2", cmd.Process.Pid))
	alive := filepath.Join(dir, fmt.Sprintf("digest-%d-3", os.Getpid()))
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
	if err := replicate.SweepMounts(dir); err != nil {
		t.Fatal(err)
	}
	for at, stays := range map[string]bool{dead: false, bare: false, alive: true, other: true} {
		if _, err := os.Stat(at); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(at), err)
		}
	}
}
