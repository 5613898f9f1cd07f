package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A file system of its own has a lost+found beside the volume, and is swapped as a whole all the same, unless something was found.
func TestNothingElse(t *testing.T) {
	top := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(top, "_data", "x"), 0o755), os.Mkdir(filepath.Join(top, "lost+found"), 0o700)); err != nil {
		t.Fatal(err)
	}
	alone := func(want bool, inside ...string) {
		t.Helper()
		if got, err := nothingElse(top, inside); err != nil || got != want {
			t.Errorf("%q: %t, %v", inside, got, err)
		}
	}
	alone(true, "_data")
	alone(true, "_data/x")
	alone(true, ".")
	alone(false, "other")
	if err := os.WriteFile(filepath.Join(top, "lost+found", "#12"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	alone(false, "_data")
}
