package lvm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
)

// A directory is as itself, and not as it was.
func TestSameFiles(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "a b", "c")
	if err := errors.Join(os.MkdirAll(in, 0o755), os.WriteFile(filepath.Join(in, "f"), []byte("1"), 0o600), os.Symlink("/", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	if err := sameFiles(t.Context(), dir, dir); err != nil {
		t.Error(err)
	}
	if err := sameFiles(t.Context(), dir, in); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("another one: %v", err)
	}
	is, was, err := statBoth(filepath.Join(in, "f"), filepath.Join(in, "f"))
	if err != nil || !sameFile(is, was) {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) error{
		"content": func(f string) error { return os.WriteFile(f, []byte("22"), 0o600) },
		"time":    func(f string) error { return os.Chtimes(f, time.Time{}, time.Unix(1, 0)) },
		"mode":    func(f string) error { return os.Chmod(f, 0o644) },
		"links":   func(f string) error { return os.Link(f, f+"2") },
	} {
		if err := change(filepath.Join(in, "f")); err != nil {
			t.Fatal(err)
		}
		is, _, err := statBoth(filepath.Join(in, "f"), in)
		if err != nil || sameFile(is, was) {
			t.Errorf("%s: not seen, %v", name, err)
		}
		was = is
	}
}
