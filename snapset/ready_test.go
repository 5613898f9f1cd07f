package snapset_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/snapset"
)

// Whether a manifest could be written is found out before anything is paused for it.
func TestReady(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("volsnap-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := snapset.Store{Dir: dir}
	if err := s.Ready(id); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(&snapset.Manifest{ID: id, App: "ccn"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("there is room")
	}
	if err := s.Ready(id); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "fill")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(id); !errors.Is(err, syscall.EROFS) {
		t.Errorf("read-only: %v", err)
	}
	if err := s.Remove(id); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a manifest that is there was removed: %v", err)
	}
	if err := s.Remove("ccn-20261121T020001.123Z"); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
}
