package mountinfo_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

// The host's root has directories of its own, and others that something is mounted on.
func TestNames(t *testing.T) {
	names, err := mountinfo.Names("/")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "etc") || slices.Contains(names, "proc") || !slices.IsSorted(names) {
		t.Errorf("%q: want etc, and not proc", names)
	}
	if names, err := mountinfo.Names(t.TempDir()); err != nil || len(names) > 0 {
		t.Errorf("an empty directory: %q, %v", names, err)
	}
	if _, err := mountinfo.Names(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
