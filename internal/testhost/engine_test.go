//go:build !vmtest

package testhost_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

func TestEnginePausesAndRestarts(t *testing.T) {
	e := testhost.StartEngine(t, "", "--live-restore")
	id := e.Run(t, "one", testhost.RunOptions{Flags: []string{"-v", "data:/data"}})
	if got := e.Docker(t, "exec", "one", "/bin/sh", "-c", "echo hello; id -un postgres"); got != "hello\npostgres" {
		t.Errorf("exec printed %q", got)
	}
	e.Docker(t, "pause", "one")
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	if got := e.Docker(t, "inspect", "-f", "{{.State.Paused}} {{.Id}}", "one"); got != "true "+id {
		t.Errorf("after the restart: %q, want %q", got, "true "+id)
	}
	e.Docker(t, "unpause", "one")
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	e.Docker(t, "pause", "one") // Close has to cope with it
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, e.Dir)
}

func TestEngineInACallersDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "with a space")
	e := testhost.StartEngine(t, root)
	e.Run(t, "one", testhost.RunOptions{Flags: []string{"-v", "kept:/data"}})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, e.Dir)
	if _, err := os.Stat(filepath.Join(root, "volumes", "kept", "_data")); err != nil {
		t.Error(err)
	}
}

func TestEngineEndsWithItsProcess(t *testing.T) {
	testhost.StartEngine(t, "") // skips where there is none
	nothingLeft(t, testhost.Orphan(t, "engine"))
}

// nothingLeft waits until no process names the engine's directory, nothing is mounted in it, and it is gone.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		left := leftOf(dir)
		if left == nil {
			return
		}
		select {
		case <-limit:
			t.Fatal(left)
		case <-again.C:
		}
	}
}

func leftOf(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is still there: %v", dir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		return fmt.Errorf("something is mounted in %s: %v", dir, err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, c := range commands {
		if b, err := os.ReadFile(c); err == nil && strings.Contains(string(b), dir) {
			return fmt.Errorf("%s still runs: %s", c, b)
		}
	}
	return nil
}
