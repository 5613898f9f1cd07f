package inventory_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/inventory"
)

func TestWriters(t *testing.T) {
	h := start(t)
	base := t.TempDir()
	data, nested, near, device := dir(t, base, "my data"), dir(t, base, "my data", "a", "b"), dir(t, base, "my data2"), dir(t, base, "device")
	file := filepath.Join(data, "config.yml")
	link, view := filepath.Join(base, "link"), dir(t, base, "view")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nested, link); err != nil {
		t.Fatal(err)
	}
	bind(t, data, view)
	vol := h.volume(t, "vol")
	h.volume(t, "bound", "--opt", "type=none", "--opt", "o=bind", "--opt", "device="+device)

	run := func(name string, flags ...string) {
		h.Run(t, name, testhost.RunOptions{Flags: flags})
	}
	run("a-equal", "-v", data+":/d")
	run("b-inside", "-v", nested+":/d")
	run("c-above", "-v", base+":/d")
	run("d-by-link", "-v", link+":/d")
	run("e-file", "-v", file+":/d")
	run("f-other-mount", "-v", filepath.Join(view, "a")+":/d")
	run("g-volume", "-v", "vol:/d")
	run("h-bound-volume", "-v", "bound:/d")
	run("i-volume-as-bind", "-v", vol+":/d")
	run("j-paused", "-v", "vol:/d")
	h.Docker(t, "pause", "j-paused")
	run("x-readonly", "-v", data+":/d:ro", "-v", "vol:/v:ro", "-v", "bound:/b:ro")
	run("x-near", "-v", near+":/d", "--tmpfs", data)
	run("x-drill", "-v", data+":/d", "--label", docker.LabelDrill+"=token")
	run("x-stopped", "-v", data+":/d")
	h.Docker(t, "stop", "x-stopped")
	h.Run(t, "k-restarting", testhost.RunOptions{Flags: []string{"-v", "vol:/d", "--restart", "always"}, Command: []string{"/usr/bin/busybox", "false"}})

	paths := []string{data, vol, device}
	want := map[string][]string{
		"a-equal": {data}, "b-inside": {data}, "c-above": {data, device}, "d-by-link": {data}, "e-file": {data}, "f-other-mount": {data},
		"g-volume": {vol}, "h-bound-volume": {device}, "i-volume-as-bind": {vol}, "j-paused": {vol}, "k-restarting": {vol},
	}
	writers, err := inventory.Writers(within(t), h.client, paths)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, w := range writers {
		got[w.Name] = w.Writes
		if w.Paused != (w.Name == "j-paused") || w.StartedAt.IsZero() || len(w.ID) != 64 || w.Image != testhost.ImageName {
			t.Errorf("%+v", w)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// The same from the other side: the configured path is the link or the other mount.
	writers, err = inventory.Writers(within(t), h.client, []string{view, link})
	if err != nil {
		t.Fatal(err)
	}
	got = map[string][]string{}
	for _, w := range writers {
		got[w.Name] = w.Writes
	}
	want = map[string][]string{
		"a-equal": {view, link}, "b-inside": {view, link}, "c-above": {view, link}, "d-by-link": {view, link}, "e-file": {view}, "f-other-mount": {view, link},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A path above the engine's own volumes.
	writers, err = inventory.Writers(within(t), h.client, []string{filepath.Join(h.DataRoot, "volumes")})
	if err != nil {
		t.Fatal(err)
	}
	if len(writers) != 5 {
		t.Errorf("%d writers below volumes/, want 5: %+v", len(writers), writers)
	}
}
