package btrfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMount(t *testing.T) {
	for _, tc := range []struct {
		line string
		want mount
		ok   bool
	}{
		{
			`36 35 0:29 /@a\040b /mnt/x\040y\011z\134 rw,noatime shared:1 master:2 - btrfs /dev/sda1 rw,space_cache=v2,subvol=/@a` + "\n",
			mount{36, "0:29", "/@a b", "/mnt/x y\tz\\", "btrfs", []string{"rw", "noatime", "rw", "space_cache=v2", "subvol=/@a"}, false},
			true,
		},
		{
			`1 0 8:1 / / rw - ext4 /dev/root ro`,
			mount{1, "8:1", "/", "/", "ext4", []string{"rw", "ro"}, false},
			true,
		},
		{`1 0 8:1 / /new\012line rw -`, mount{}, false},
		{``, mount{}, false},
		{`x 0 8:1 / / rw - ext4 a b`, mount{}, false},
	} {
		got, ok := parseMount(tc.line)
		if ok != tc.ok {
			t.Errorf("%q: ok %t", tc.line, ok)
			continue
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(mount{})); ok && diff != "" {
			t.Error(diff)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `\012`: "\n", `/\134`: `/\`, `\04`: `\04`, `\999`: `\999`, `\`: `\`, `/\303\274`: "/\u00fc",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, tc := range []struct {
		dir, at, rel string
		ok           bool
	}{
		{"/", "/", ".", true},
		{"/", "/a/b", "a/b", true},
		{"/a", "/a", ".", true},
		{"/a", "/a/b", "b", true},
		{"/a", "/ab", "", false},
		{"/a/b", "/a", "", false},
	} {
		if rel, ok := below(tc.dir, tc.at); ok != tc.ok || ok && rel != tc.rel {
			t.Errorf("below(%s, %s) = %q, %t", tc.dir, tc.at, rel, ok)
		}
	}
}

func TestName(t *testing.T) {
	all := mounts{
		{dev: "0:1", root: "/docker/volumes", point: "/bound"},
		{dev: "0:1", root: "/", point: "/mnt", whole: true},
		{dev: "0:1", root: "/docker", point: "/srv/docker", whole: true},
		{dev: "0:2", root: "/docker/volumes", point: "/elsewhere"},
		{dev: "0:1", root: "/docker", point: "/twice", whole: true},
	}
	for _, tc := range []struct{ dev, inside, want string }{
		{"0:1", "/", "/mnt"},
		{"0:1", "/docker", "/srv/docker"},
		{"0:1", "/docker/volumes/pg", "/srv/docker/volumes/pg"},
		{"0:1", "/dockers", "/mnt/dockers"},
		{"0:2", "/docker/volumes/a", "/elsewhere/a"},
		{"0:2", "/docker", ""},
		{"0:3", "/", ""},
	} {
		if got, ok := all.name(tc.dev, tc.inside); got != tc.want || ok != (tc.want != "") {
			t.Errorf("name(%s, %s) = %q, %t; want %q", tc.dev, tc.inside, got, ok, tc.want)
		}
	}
}

func TestHome(t *testing.T) {
	top := mount{dev: "0:1", root: "/", point: "/mnt", whole: true}
	docker := mount{dev: "0:1", root: "/@docker", point: "/srv/docker", whole: true}
	pg := mount{dev: "0:1", root: "/@pg", point: "/srv/pg", whole: true}
	bound := mount{dev: "0:1", root: "/@docker/volumes", point: "/view"}
	volume := mount{dev: "0:1", root: "/@pg", point: "/var/lib/docker/volumes/pg/_data"}
	inner := mount{dev: "0:1", root: "/@pg/sub", point: "/inner", whole: true}
	readOnly := mount{dev: "0:1", root: "/", point: "/ro", whole: true, options: []string{"ro"}}
	other := mount{dev: "0:2", root: "/", point: "/other", whole: true}
	for _, tc := range []struct {
		name   string
		all    mounts
		inside string
		isAll  bool
		want   string
		err    error
	}{
		{"below the top of its mount", mounts{top, docker}, "/@docker/volumes/pg", true, "/srv/docker", nil},
		{"below a bind mount", mounts{top, docker, bound}, "/@docker/volumes/pg", true, "/srv/docker", nil},
		{"the top, but the volume is a directory in it", mounts{top, pg}, "/@pg", false, "/srv/pg", nil},
		{"the top itself, another mount is nearer", mounts{pg, docker, top}, "/@pg", true, "/mnt", nil},
		{"the top itself, a sibling is there", mounts{pg, docker}, "/@pg", true, "/srv/docker", nil},
		{"the top itself, nothing else", mounts{pg}, "/@pg", true, "", errNoHome},
		{"only what lies inside of it", mounts{pg, inner}, "/@pg", true, "", errNoHome},
		{"only a read-only one", mounts{pg, readOnly}, "/@pg", true, "", errReadOnly},
		{"only another file system", mounts{pg, other}, "/@pg", true, "", errNoHome},
		{"mounted by Docker", mounts{volume, top}, "/@pg", false, "/mnt", nil},
		{"mounted by Docker, nothing else", mounts{volume}, "/@pg", false, "", errNoHome},
	} {
		got, err := tc.all.home("0:1", tc.inside, tc.isAll)
		if got.point != tc.want || !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) {
			t.Errorf("%s: home = %q, %v; want %q, %v", tc.name, got.point, err, tc.want, tc.err)
		}
	}
}

func TestRepeats(t *testing.T) {
	top := mount{dev: "0:1", root: "/", point: "/mnt"}
	docker := mount{dev: "0:1", root: "/@docker", point: "/srv/docker"}
	for _, tc := range []struct {
		m    mount
		want bool
	}{
		{mount{dev: "0:1", root: "/docker", point: "/mnt/docker"}, true},
		{mount{dev: "0:1", root: "/@docker/x", point: "/srv/docker/x"}, true},
		{mount{dev: "0:1", root: "/docker", point: "/mnt/docker2"}, false},
		{mount{dev: "0:2", root: "/docker", point: "/mnt/docker"}, false},
		{top, false},
		{docker, false},
	} {
		if got := tc.m.repeats(top) || tc.m.repeats(docker); got != tc.want {
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

func FuzzParseMount(f *testing.F) {
	f.Add(`36 35 0:29 /@a\040b /mnt/x rw shared:1 - btrfs /dev/sda1 rw` + "\n")
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok && (m.dev == "" || m.fs == "" || len(m.options) == 0) {
			t.Fatalf("%q: %+v", line, m)
		}
	})
}
