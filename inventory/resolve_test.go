package inventory_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

func TestResolve(t *testing.T) {
	h := start(t)
	base := t.TempDir()
	device, keys, elsewhere := dir(t, base, "a device"), dir(t, base, "the keys"), dir(t, base, "elsewhere")
	link := filepath.Join(base, "link to keys")
	if err := os.Symlink(keys, link); err != nil {
		t.Fatal(err)
	}
	label := func(key string) []string {
		return []string{"--label", "com.docker.compose.project=ccn", "--label", "com.docker.compose.volume=" + key}
	}
	pg := h.volume(t, "ccn_pg", label("pg")...)
	h.volume(t, "ccn_files", append(label("files"), "--opt", "type=none", "--opt", "o=rw,bind", "--opt", "device="+device)...)
	other := h.volume(t, "other")
	h.volume(t, "in-memory", "--opt", "type=tmpfs", "--opt", "device=tmpfs")
	h.volume(t, "remote", "--opt", "type=nfs4", "--opt", "o=addr=10.0.0.1,rw", "--opt", "device=:/export")
	h.volume(t, "lazy", "--opt", "type=btrfs", "--opt", "device=/dev/sdz9")
	h.volume(t, "bound-away", "--opt", "type=none", "--opt", "o=bind", "--opt", "device="+elsewhere)
	if err := os.Remove(elsewhere); err != nil {
		t.Fatal(err)
	}
	spec := func(name string, notOlder ...string) inventory.VolumeSpec {
		return inventory.VolumeSpec{Volume: name, NotOlderThan: notOlder}
	}
	ccn := func(key string) map[string]string {
		return map[string]string{"com.docker.compose.project": "ccn", "com.docker.compose.volume": key}
	}
	for _, tt := range []struct {
		name string
		app  inventory.App
		want []inventory.Volume
	}{
		{
			"in the order of the configuration",
			inventory.App{Volumes: []inventory.VolumeSpec{spec("other"), spec("ccn_files", "other", link), {Path: link}}},
			[]inventory.Volume{
				{Name: "other", HostPath: other, Found: inventory.FoundMountpoint, Docker: true},
				{Name: "ccn_files", HostPath: device, Found: inventory.FoundBind, Docker: true, Labels: ccn("files"), NotOlderThan: []string{"other", link}},
				{Name: link, HostPath: keys, Found: inventory.FoundPath},
			},
		},
		{
			"a whole project",
			inventory.App{Project: "ccn"},
			[]inventory.Volume{
				{Name: "ccn_files", HostPath: device, Found: inventory.FoundBind, Docker: true, Labels: ccn("files")},
				{Name: "ccn_pg", HostPath: pg, Found: inventory.FoundMountpoint, Docker: true, Labels: ccn("pg")},
			},
		},
		{
			"by the Compose file's keys",
			inventory.App{Project: "ccn", Volumes: []inventory.VolumeSpec{spec("pg"), spec("files", "pg"), spec("other", "ccn_pg")}},
			[]inventory.Volume{
				{Name: "ccn_pg", HostPath: pg, Found: inventory.FoundMountpoint, Docker: true, Labels: ccn("pg")},
				{Name: "ccn_files", HostPath: device, Found: inventory.FoundBind, Docker: true, Labels: ccn("files"), NotOlderThan: []string{"ccn_pg"}},
				{Name: "other", HostPath: other, Found: inventory.FoundMountpoint, Docker: true, NotOlderThan: []string{"ccn_pg"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := inventory.Resolve(within(t), h.client, tt.app)
			if err != nil {
				t.Fatal(err)
			}
			want := inventory.Inventory{Project: tt.app.Project, Volumes: tt.want}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, tt := range []struct {
		name string
		app  inventory.App
		is   error
		says []string
	}{
		{
			"all problems at once",
			inventory.App{Volumes: []inventory.VolumeSpec{spec("files"), spec("other", "nobody"), {Path: "/no/such"}, {Path: "relative"}, spec("../x")}},
			inventory.ErrNotFound,
			[]string{`"files": not found; near it: ccn_files`, `not_older_than names "nobody"`, `path "/no/such": not found on this host`, "not an absolute path", `"../x"`},
		},
		{"tmpfs", inventory.App{Volumes: []inventory.VolumeSpec{spec("in-memory")}}, inventory.ErrNoPath, []string{"tmpfs"}},
		{"nfs", inventory.App{Volumes: []inventory.VolumeSpec{spec("remote")}}, inventory.ErrNoPath, []string{"nfs4 at :/export"}},
		{"mounted while used", inventory.App{Volumes: []inventory.VolumeSpec{spec("lazy")}}, inventory.ErrNoPath, []string{"/dev/sdz9", "fstab"}},
		{"bound to what is gone", inventory.App{Volumes: []inventory.VolumeSpec{spec("bound-away")}}, inventory.ErrNotFound, []string{elsewhere}},
		{"a device", inventory.App{Volumes: []inventory.VolumeSpec{{Path: "/dev/null"}}}, nil, []string{"neither a directory nor a file"}},
		{"one directory twice", inventory.App{Volumes: []inventory.VolumeSpec{spec("other"), {Path: other}}}, nil, []string{"same directory"}},
		{"no such project", inventory.App{Project: "ccm"}, inventory.ErrNotFound, []string{"near it: ccn"}},
		{"nothing named", inventory.App{}, nil, []string{"neither"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inv, err := inventory.Resolve(within(t), h.client, tt.app)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("%+v, %v; want %v", inv, err, tt.is)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q is not in: %v", s, err)
				}
			}
		})
	}
}

func TestResolvePathsNeedsNoEngine(t *testing.T) {
	d, err := docker.New("unix:///nonexistent/docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	inv, err := inventory.Resolve(within(t), d, inventory.App{Project: "p", Volumes: []inventory.VolumeSpec{{Path: keys}}})
	if err != nil || !cmp.Equal(inv.Paths(), []string{keys}) {
		t.Errorf("%+v, %v", inv, err)
	}
	if _, err := inventory.Resolve(within(t), d, inventory.App{Project: "p"}); !errors.Is(err, docker.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := inventory.Writers(within(t), d, inv.Paths()); !errors.Is(err, docker.ErrUnavailable) {
		t.Error(err)
	}
}
