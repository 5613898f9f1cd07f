package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/config"
)

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"): "no such file",
		dir:                          "not a regular file",
		pipe:                         "not a regular file", // and does not wait for a writer
		"/dev/zero":                  "not a regular file",
	} {
		c, err := config.Load(path)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "read configuration: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, %v; want %q", path, c, err, want)
		}
	}
	if _, err := config.Load(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestLoadBounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "volsnap.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path)
	if want := path + ": the file is larger than 1 MiB"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
