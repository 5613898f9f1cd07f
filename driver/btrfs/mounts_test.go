package btrfs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/mountinfo"
)

func on(dev, root, point string) mountinfo.Mount {
	return mountinfo.Mount{Dev: dev, Root: root, Point: point}
}

func TestName(t *testing.T) {
	whole := []mountinfo.Mount{
		on("0:1", "/", "/mnt"),
		on("0:1", "/docker", "/srv/docker"),
		on("0:1", "/docker", "/twice"),
	}
	ms := mounts{whole: whole, all: append([]mountinfo.Mount{
		on("0:1", "/docker/volumes", "/bound"),
		on("0:2", "/docker/volumes", "/elsewhere"),
	}, whole...)}
	for _, tc := range []struct{ dev, inside, want string }{
		{"0:1", "/", "/mnt"},
		{"0:1", "/docker", "/srv/docker"},
		{"0:1", "/docker/volumes/pg", "/srv/docker/volumes/pg"},
		{"0:1", "/dockers", "/mnt/dockers"},
		{"0:2", "/docker/volumes/a", "/elsewhere/a"},
		{"0:2", "/docker", ""},
		{"0:3", "/", ""},
	} {
		if got, ok := ms.name(tc.dev, tc.inside); got != tc.want || ok != (tc.want != "") {
			t.Errorf("name(%s, %s) = %q, %t; want %q", tc.dev, tc.inside, got, ok, tc.want)
		}
	}
}

func TestHome(t *testing.T) {
	top := on("0:1", "/", "/mnt")
	docker := on("0:1", "/@docker", "/srv/docker")
	pg := on("0:1", "/@pg", "/srv/pg")
	bound := on("0:1", "/@docker/volumes", "/view")
	volume := on("0:1", "/@pg", "/var/lib/docker/volumes/pg/_data")
	inner := on("0:1", "/@pg/sub", "/inner")
	readOnly := on("0:1", "/", "/ro")
	readOnly.Options = []string{"ro"}
	other := on("0:2", "/", "/other")
	list := func(all ...mountinfo.Mount) mounts {
		return mounts{all: all, whole: slices.DeleteFunc(slices.Clone(all), func(m mountinfo.Mount) bool {
			return m.Point == bound.Point || m.Point == volume.Point
		})}
	}
	for _, tc := range []struct {
		name   string
		all    mounts
		inside string
		isAll  bool
		want   string
		err    error
	}{
		{"below the top of its mount", list(top, docker), "/@docker/volumes/pg", true, "/srv/docker", nil},
		{"below a bind mount", list(top, docker, bound), "/@docker/volumes/pg", true, "/srv/docker", nil},
		{"the top, but the volume is a directory in it", list(top, pg), "/@pg", false, "/srv/pg", nil},
		{"the top itself, another mount is nearer", list(pg, docker, top), "/@pg", true, "/mnt", nil},
		{"the top itself, a sibling is there", list(pg, docker), "/@pg", true, "/srv/docker", nil},
		{"the top itself, nothing else", list(pg), "/@pg", true, "", errNoHome},
		{"only what lies inside of it", list(pg, inner), "/@pg", true, "", errNoHome},
		{"only a read-only one", list(pg, readOnly), "/@pg", true, "", errReadOnly},
		{"only another file system", list(pg, other), "/@pg", true, "", errNoHome},
		{"mounted by Docker", list(volume, top), "/@pg", false, "/mnt", nil},
		{"mounted by Docker, nothing else", list(volume), "/@pg", false, "", errNoHome},
	} {
		got, err := tc.all.home("0:1", tc.inside, tc.isAll)
		if got.Point != tc.want || !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) {
			t.Errorf("%s: home = %q, %v; want %q, %v", tc.name, got.Point, err, tc.want, tc.err)
		}
	}
}

func TestRepeats(t *testing.T) {
	top := on("0:1", "/", "/mnt")
	docker := on("0:1", "/@docker", "/srv/docker")
	for _, tc := range []struct {
		m    mountinfo.Mount
		want bool
	}{
		{on("0:1", "/docker", "/mnt/docker"), true},
		{on("0:1", "/@docker/x", "/srv/docker/x"), true},
		{on("0:1", "/docker", "/mnt/docker2"), false},
		{on("0:2", "/docker", "/mnt/docker"), false},
		{top, false},
		{docker, false},
	} {
		if got := repeats(tc.m, top) || repeats(tc.m, docker); got != tc.want {
			t.Errorf("%+v: repeats = %t", tc.m, got)
		}
	}
}

func TestKeyOf(t *testing.T) {
	seen := map[string]string{}
	for inside, want := range map[string]string{
		"/":                            "top-",
		"/docker/volumes/pg/_data":     "pg-",
		"/docker/volumes/pg2/_data":    "pg2-",
		"/x/pg/_data":                  "pg-",
		"/a b\n\u00fc'":                "a_b___-",
		"/.hidden":                     "hidden-",
		"/...":                         "_-",
		"/-rf":                         "rf-",
		"/_data":                       "top-",
		"/" + strings.Repeat("x", 300): strings.Repeat("x", 64) + "-",
	} {
		got := keyOf(inside)
		if !strings.HasPrefix(got, want) || len(got) != len(want)+8 || !keyPattern.MatchString(got) {
			t.Errorf("keyOf(%q) = %q, want %q and 8 digits", inside, got, want)
		}
		if before := seen[got]; before != "" {
			t.Errorf("%q and %q have the same key", before, inside)
		}
		seen[got] = inside
	}
}
