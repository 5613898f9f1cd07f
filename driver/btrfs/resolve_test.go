package btrfs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dennwc "github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// mkdir makes a directory with its parents and returns it.
func mkdir(t testing.TB, parts ...string) string {
	t.Helper()
	at := filepath.Join(parts...)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

func touch(t testing.TB, parts ...string) string {
	t.Helper()
	at := filepath.Join(parts...)
	if err := os.WriteFile(at, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

// mountAt mounts what source is, with options as mount(8) takes them, until the test ends.
func mountAt(t testing.TB, source, at, options string) string {
	t.Helper()
	if out, err := exec.Command("mount", "-o", options, source, at).CombinedOutput(); err != nil {
		t.Fatalf("mount -o %s %s %s: %v: %s", options, source, at, err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
	return at
}

// device is the loop device of a file system of testhost.
func device(t testing.TB, top string) string {
	t.Helper()
	out, err := exec.Command("findmnt", "-nvo", "SOURCE", "--mountpoint", top).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestResolve(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	pg := subvolume(t, filepath.Join(mkdir(t, top, "volumes", "pg"), "_data"))
	inner := mkdir(t, pg, "base", "1 2")
	odd := subvolume(t, filepath.Join(top, "new\nline \u00fc\\134"))
	touch(t, odd, "config.yml")
	plain := mkdir(t, top, "volumes", "plain")
	link := filepath.Join(t.TempDir(), "link")
	bound := filepath.Join(t.TempDir(), "bound.yml")
	if err := errors.Join(os.Symlink(pg, link), os.WriteFile(bound, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	mountAt(t, filepath.Join(odd, "config.yml"), bound, "bind")
	boundDir := mountAt(t, inner, mkdir(t, t.TempDir(), "dir"), "bind")

	for _, tc := range []struct{ name, path, dataset, rel string }{
		{"a subvolume", pg, pg, "."},
		{"a directory in it", inner, pg, "base/1 2"},
		{"through a link", link + "/base", pg, "base"},
		{"an odd name", odd, odd, "."},
		{"a file", filepath.Join(odd, "config.yml"), odd, "config.yml"},
		{"a file that is mounted elsewhere", bound, odd, "config.yml"},
		{"a directory that is mounted elsewhere", boundDir, pg, "base/1 2"},
		{"a directory of the top", plain, top, "volumes/plain"},
		{"the top", top, top, "."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := btrfs.New().Resolve(t.Context(), tc.path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Dataset != (driver.Dataset{Kind: btrfs.Kind, Name: tc.dataset}) || got.Path != tc.rel {
				t.Errorf("%s is %q in %s", tc.path, got.Path, got.Dataset)
			}
			if !strings.Contains(progs(t, "filesystem", "show", top), got.Pool) || got.Pool == "" {
				t.Errorf("pool %q is not the file system's UUID", got.Pool)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	pipe := filepath.Join(top, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		want error
		say  string
	}{
		{"/proc/self", driver.ErrNotSupported, "proc"},
		{"relative", driver.ErrNotSupported, "absolute"},
		{pipe, driver.ErrNotSupported, "neither"},
		{filepath.Join(top, "none"), driver.ErrNotFound, "none"},
		{"/dev/null", driver.ErrNotSupported, "not Btrfs"},
	} {
		_, err := btrfs.New().Resolve(t.Context(), tc.path)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.say) || !strings.Contains(err.Error(), tc.path) {
			t.Errorf("Resolve(%s): %v; want %v that says %q", tc.path, err, tc.want, tc.say)
		}
	}
}

func TestFindings(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	dev := device(t, top)
	d := btrfs.New()
	for _, tc := range []struct {
		name  string
		level driver.Level // "" wants no finding at all
		say   string
		make  func(t *testing.T) string
	}{
		{"a subvolume of its own", "", "", func(t *testing.T) string {
			return subvolume(t, filepath.Join(top, "good one"))
		}},
		{"a plain directory", driver.Note, `also holds "also here", more`, func(t *testing.T) string {
			s := subvolume(t, filepath.Join(top, "shared"))
			mkdir(t, s, "also here")
			touch(t, s, "more")
			return mkdir(t, s, "vol", "_data")
		}},
		{"a nested subvolume", driver.Error, `nested/deep/in side`, func(t *testing.T) string {
			s := subvolume(t, filepath.Join(top, "nested"))
			subvolume(t, filepath.Join(mkdir(t, s, "deep"), "in side"))
			return s
		}},
		{"a subvolume beside the volume, which its snapshot does not hold", "", "", func(t *testing.T) string {
			s := subvolume(t, filepath.Join(top, "beside"))
			subvolume(t, filepath.Join(s, "data2"))
			return mkdir(t, s, "data")
		}},
		{"another file system mounted in it", driver.Warning, "mounted in it", func(t *testing.T) string {
			s := subvolume(t, filepath.Join(top, "covered"))
			mountAt(t, mkdir(t, t.TempDir(), "other"), mkdir(t, s, "tmp"), "bind")
			return s
		}},
		{"nodatacow", driver.Warning, "no checksums", func(t *testing.T) string {
			s := subvolume(t, filepath.Join(top, "nocow"))
			if out, err := exec.Command("chattr", "+C", s).CombinedOutput(); err != nil {
				t.Fatalf("chattr: %v: %s", err, out)
			}
			return s
		}},
		{"received and made writable", driver.Warning, "btrbk#152", func(t *testing.T) string { return receivedWritable(t, top) }},
		{"a mount of the volume itself", "", "", func(t *testing.T) string {
			subvolume(t, filepath.Join(top, "alone"))
			return mountAt(t, dev, mkdir(t, t.TempDir(), "_data"), "subvol=/alone")
		}},
		{"among our own snapshots", driver.Error, "own snapshots", func(t *testing.T) string {
			return mkdir(t, top, ".volsnap", "x")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := d.Resolve(t.Context(), tc.make(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range got.Findings {
				if f.Level == tc.level && strings.Contains(f.What, tc.say) && (f.Level == driver.Note || f.Mend != "") {
					return
				}
			}
			if tc.level != "" || len(got.Findings) > 0 {
				t.Errorf("findings %+v; want %s %q", got.Findings, tc.level, tc.say)
			}
		})
	}
}

// receivedWritable is a subvolume that was received and then made writable in place.
func receivedWritable(t *testing.T, top string) string {
	t.Helper()
	src := subvolume(t, filepath.Join(top, "sent"))
	progs(t, "property", "set", "-ts", src, "ro", "true")
	into := mkdir(t, top, "into")
	sh := exec.Command("sh", "-c", `btrfs -q send "$1" | btrfs -q receive "$2"`, "sh", src, into)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("send and receive: %v: %s", err, out)
	}
	at := filepath.Join(into, "sent")
	f, err := dennwc.Open(at, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.SetFlags(0), f.Close()); err != nil { // btrfs-progs would remove the received UUID
		t.Fatal(err)
	}
	return at
}

func TestVolumeThatIsItsOwnMount(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	dev := device(t, top)
	subvolume(t, filepath.Join(top, "pg"))
	vol := mountAt(t, dev, mkdir(t, t.TempDir(), "pg"), "subvol=/pg")
	touch(t, vol, "f")
	d := btrfs.New()
	place, err := d.Resolve(t.Context(), vol)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(top, 0); err != nil {
		t.Fatal(err)
	}
	alone, err := d.Resolve(t.Context(), vol)
	if err != nil {
		t.Fatal(err)
	}
	if len(alone.Findings) != 1 || alone.Findings[0].Level != driver.Error || !strings.Contains(alone.Findings[0].Mend, "subvolid=5") {
		t.Errorf("findings without another mount: %+v", alone.Findings)
	}
	item := driver.Item{Dataset: alone.Dataset, Member: 1, Volumes: []driver.Volume{{Name: "pg", Path: "."}}}
	req := driver.Request{Set: "ccn-20261121T020000.123Z", Of: 1, Items: []driver.Item{item}}
	if g, err := d.Prepare(t.Context(), req); err == nil {
		t.Errorf("Prepare did not refuse: %v", g.Close(t.Context()))
	}
	if _, err := os.Lstat(filepath.Join(vol, ".volsnap")); !os.IsNotExist(err) {
		t.Errorf("something was made in the volume: %v", err)
	}
	mountAt(t, dev, top, "subvolid=5")
	req.Items[0].Dataset = place.Dataset
	snaps := takeAndSeal(t, d, req)
	if want := filepath.Join(top, ".volsnap"); !strings.HasPrefix(snaps[0].Name, want) {
		t.Errorf("snapshot at %s, want it below %s", snaps[0].Name, want)
	}
}

func takeAndSeal(t testing.TB, d driver.Driver, req driver.Request) []driver.Snapshot {
	t.Helper()
	g, err := d.Prepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := driver.Take(t.Context(), g)
	if err := errors.Join(err, g.Close(t.Context()), d.Seal(t.Context(), "frozen", snaps...)); err != nil {
		t.Fatal(err)
	}
	return snaps
}

// TestBindMountsChangeNothing: dockerd mounts its data root on itself, and other bind mounts come and go.
func TestBindMountsChangeNothing(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	root := subvolume(t, filepath.Join(top, "docker"))
	pg := subvolume(t, filepath.Join(mkdir(t, root, "volumes", "pg"), "_data"))
	mountAt(t, root, root, "bind")
	mountAt(t, filepath.Join(root, "volumes"), mkdir(t, t.TempDir(), "view"), "bind")
	seen := mountAt(t, pg, mkdir(t, t.TempDir(), "volumes", "pg", "_data"), "bind")
	d := btrfs.New()
	for _, at := range []string{pg, seen} {
		place, err := d.Resolve(t.Context(), at)
		if err != nil || place.Dataset.Name != pg || place.Path != "." || len(place.Findings) > 0 {
			t.Errorf("Resolve(%s) = %+v, %v", at, place, err)
		}
	}
	made := takeAndSeal(t, d, requestOf(t, 1, driver.Dataset{Kind: btrfs.Kind, Name: pg}))
	if want := filepath.Join(top, ".volsnap"); !strings.HasPrefix(made[0].Name, want+"/pg-") {
		t.Errorf("snapshot at %s, want it in %s", made[0].Name, want)
	}
	if err := errors.Join(unix.Unmount(seen, 0), unix.Unmount(root, unix.MNT_DETACH)); err != nil {
		t.Fatal(err)
	}
	if got := list(t, d, made[0].Dataset); len(got) != 1 || got[0].Name != made[0].Name || got[0].Dataset != made[0].Dataset {
		t.Errorf("without the bind mounts: %+v", got)
	}
}

// TestOnlyTheDisks lists the sets of a file system that came from another host, mounted by parts.
func TestOnlyTheDisks(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	dev := device(t, top)
	docker := subvolume(t, filepath.Join(top, "@docker"))
	pg := subvolume(t, filepath.Join(mkdir(t, docker, "volumes", "p g"), "_data"))
	vol := mountAt(t, dev, mkdir(t, t.TempDir(), "srv docker"), "subvol=/@docker")
	d := btrfs.New()
	place, err := d.Resolve(t.Context(), filepath.Join(vol, "volumes", "p g", "_data"))
	if err != nil {
		t.Fatal(err)
	}
	made := takeAndSeal(t, d, driver.Request{
		Set: "ccn-20261121T020000.123Z", Of: 1,
		Items: []driver.Item{{Dataset: place.Dataset, Member: 1, Volumes: []driver.Volume{{Name: "p g", Path: "."}}}},
	})
	if !strings.HasPrefix(made[0].Name, vol+"/.volsnap/p_g-") {
		t.Errorf("snapshot at %s, want it at the top of %s", made[0].Name, vol)
	}
	if err := unix.Unmount(vol, 0); err != nil {
		t.Fatal(err)
	}
	later := mountAt(t, dev, mkdir(t, t.TempDir(), "rescue"), "subvol=/@docker")
	if err := os.RemoveAll(pg); err != nil { // the dataset is gone, its snapshot is not
		t.Fatal(err)
	}
	got, err := btrfs.New().Snapshots(t.Context(), driver.Dataset{Kind: btrfs.Kind, Name: filepath.Join(later, "volumes/p g/_data")})
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].GUID != made[0].GUID || !got[0].Sealed || got[0].Volumes[0].Name != "p g" || !strings.HasPrefix(got[0].Name, later) {
		t.Errorf("found %+v, made %+v", got[0], made[0])
	}
}
