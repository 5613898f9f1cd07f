package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

// TestWhereClonesGo has volumes called like directories above them, bound elsewhere, behind links, and gone since.
func TestWhereClonesGo(t *testing.T) {
	g := newGoing(t)
	dir := t.TempDir()
	root, data := filepath.Join(dir, "docker"), filepath.Join(dir, "data")
	g.docker.root = root
	g.app.Volumes = nil
	volume := func(name string, options map[string]string) string {
		at := filepath.Join(root, "volumes", name, "_data")
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		g.docker.has = append(g.docker.has, docker.Volume{Name: name, Driver: "local", Mountpoint: at, Options: options})
		g.app.Volumes = append(g.app.Volumes, inventory.VolumeSpec{Volume: name})
		return at
	}
	for _, name := range []string{"docker", "volumes", "d", "gone"} {
		g.storage.AddDataset(filepath.Dir(volume(name, nil)))
	}
	g.storage.AddDataset(volume("data", nil))
	g.storage.AddDataset(data)
	for _, name := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(data, name), 0o755); err != nil {
			t.Fatal(err)
		}
		volume("bound-"+name, map[string]string{"type": "none", "o": "bind", "device": filepath.Join(data, name)})
	}
	real, link := filepath.Join(dir, "real"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Mkdir(real, 0o755), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	g.storage.AddDataset(real)
	g.app.Volumes = append(g.app.Volumes, inventory.VolumeSpec{Path: link})
	set := g.take()
	for i, v := range g.docker.has {
		if v.Name == "gone" {
			g.docker.has = append(g.docker.has[:i:i], g.docker.has[i+1:]...)
			break
		}
	}
	r, err := g.RestoreBeside(t.Context(), set, "back", engine.RestoreOptions{}, true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range r.Members {
		got[m.Volume] = m.HostPath
	}
	volumes := filepath.Join(root, "volumes")
	want := map[string]string{
		"docker": filepath.Join(volumes, "back_docker", "_data"), "volumes": filepath.Join(volumes, "back_volumes", "_data"),
		"d": filepath.Join(volumes, "back_d", "_data"), "gone": filepath.Join(volumes, "back_gone", "_data"), "data": filepath.Join(volumes, "back_data", "_data"),
		"bound-a": filepath.Join(dir, "back_data", "a"), "bound-b": filepath.Join(dir, "back_data", "b"), link: filepath.Join(dir, "back_real"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// I10: a prefix that could lead elsewhere is no prefix.
func TestBadPrefixes(t *testing.T) {
	g := newGoing(t)
	for _, prefix := range []string{"", ".", "..", "../x", "a/b", "-a", "a b", "a_b", "a\n", "0123456789012345678901234567890123"} {
		if _, err := g.RestoreBeside(t.Context(), g.set, prefix, engine.RestoreOptions{}, false); !errors.Is(err, engine.ErrBadPrefix) {
			t.Errorf("%q: %v, want ErrBadPrefix", prefix, err)
		}
	}
}
