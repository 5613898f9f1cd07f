//go:build !vmtest

package killtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk is that nothing is frozen without a journal, and that there is no set without a manifest.
func TestFullDisk(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		name, app string
		dir       func(*app) string
		frozen    bool // the containers may have been paused
	}{
		{"of the run directory", "fullrun", func(a *app) string { return a.run }, false},
		{"of the state directory", "fullstate", func(a *app) string { return a.state }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, h, tc.app)
			tiny(t, tc.dir(a))
			a.settle(t)
			sets := a.list(t)
			empty := fill(t, tc.dir(a))
			f := a.watch(t, "one", "two", "reader", "resting")
			p := a.volsnap(t, "", "run", a.name)
			if p.status(t) != 1 || !strings.Contains(p.stderr(), syscall.ENOSPC.Error()) {
				t.Errorf("exit status %d, want 1 and %q:\n%s", p.status(t), syscall.ENOSPC.Error(), p.stderr())
			}
			f.awaitFree(t)
			f.end()
			f.check(t)
			for _, name := range ours {
				if f.of(name).times > 0 && !tc.frozen {
					t.Errorf("%s was held without a journal", name)
				}
			}
			empty()
			a.checkNoNewSet(t, sets)
			a.settled(t)
		})
	}
}

// tiny mounts a file system of few pages.
func tiny(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", dir)
	t.Cleanup(func() { command(t, "umount", dir) })
}

// fill leaves no room in the file system of dir, until empty is called.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
