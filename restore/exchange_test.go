package restore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// tree makes a directory with files in it, by path.
func tree(t *testing.T, at string, files ...string) string {
	t.Helper()
	for _, name := range append([]string{""}, files...) {
		path := filepath.Join(at, name)
		dir := path
		if name != "" && !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(path)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == path {
			continue
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

func identity(t *testing.T, at string) string {
	t.Helper()
	is, err := fileIdentity(at)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	path, aside := tree(t, filepath.Join(dir, "a b"), "old"), tree(t, filepath.Join(dir, ".aside"), "new")
	was, is := identity(t, path), identity(t, aside)
	for _, to := range []string{is, is, was, was} { // the second time it is so already
		if err := exchange(path, aside, to); err != nil {
			t.Fatal(err)
		}
		if got := identity(t, path); got != to {
			t.Errorf("there is %s, not %s", got, to)
		}
	}
	if err := exchange(path, aside, "1:1"); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("to what is at neither: %v, want ErrForeign", err)
	}
	if err := exchange(filepath.Join(dir, "none"), aside, is); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if err := exchange(path, filepath.Join(dir, "none"), is); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with what is not there: %v", err)
	}
	if got := identity(t, path); got != was {
		t.Errorf("there is %s, not %s", got, was)
	}
}

// A symbolic link is a file of its own, and not what it leads to.
func TestExchangeFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, aside := tree(t, filepath.Join(dir, "a"), "f"), filepath.Join(dir, "link")
	elsewhere := tree(t, filepath.Join(dir, "elsewhere"), "mine")
	if err := os.Symlink(elsewhere, aside); err != nil {
		t.Fatal(err)
	}
	if err := exchange(path, aside, identity(t, aside)); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(path); err != nil || to != elsewhere {
		t.Errorf("%q, %v", to, err)
	}
	if err := removeUnchanged(path, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "mine")); err != nil {
		t.Errorf("what the link led to: %v", err)
	}
}

func TestRemoveUnchanged(t *testing.T) {
	later := time.Now().Add(time.Hour)
	at := tree(t, filepath.Join(t.TempDir(), "old"), "a/b/c", "d")
	if err := removeUnchanged(at, later.Add(-2*time.Hour)); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("written to since: %v, want ErrChanged", err)
	}
	if err := os.Chtimes(filepath.Join(at, "a/b/c"), later, later.Add(-100*time.Hour)); err != nil { // what a program can set says nothing
		t.Fatal(err)
	}
	if err := removeUnchanged(at, later.Add(-2*time.Hour)); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("written to since, with an old time: %v, want ErrChanged", err)
	}
	for range 2 {
		if err := removeUnchanged(at, later); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(at); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is there still: %v", err)
		}
	}
}

// What is mounted in a directory is not removed with it.
func TestRemoveUnchangedStopsAtMounts(t *testing.T) {
	dir := t.TempDir()
	other := tree(t, filepath.Join(dir, "other"), "precious")
	at := tree(t, filepath.Join(dir, "old"), "a/", "b/", "f")
	for point, mount := range map[string]func(string) error{
		"a": func(to string) error { return unix.Mount(other, to, "", unix.MS_BIND, "") }, // of the same file system
		"b": func(to string) error { return unix.Mount("none", to, "tmpfs", 0, "") },
	} {
		to := filepath.Join(at, point)
		if err := mount(to); err != nil {
			t.Fatal(err)
		}
		if err := removeUnchanged(at, time.Now().Add(time.Hour)); !errors.Is(err, driver.ErrChanged) {
			t.Errorf("%s: %v, want ErrChanged", point, err)
		}
		if err := unix.Unmount(to, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(other, "precious"), filepath.Join(at, "f")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestCopyOut(t *testing.T) {
	dir := t.TempDir()
	from := tree(t, filepath.Join(dir, "-from"), "f", "d/g")
	if err := errors.Join(
		os.Link(filepath.Join(from, "f"), filepath.Join(from, "d/hard")), os.Symlink("/etc", filepath.Join(from, "link")),
		unix.Mkfifo(filepath.Join(from, "fifo"), 0o600), os.Truncate(filepath.Join(from, "d/g"), 1<<30),
		unix.Setxattr(filepath.Join(from, "f"), "user.mine", []byte("x"), 0), unix.Chmod(filepath.Join(from, "d"), 0o2751),
		os.Chtimes(filepath.Join(from, "f"), time.Unix(1, 0), time.Unix(2, 3)),
	); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	if err := copyOut(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	var f, hard, sparse, d unix.Stat_t
	value := make([]byte, 8)
	n, err := unix.Getxattr(filepath.Join(to, "f"), "user.mine", value)
	if err := errors.Join(err, unix.Stat(filepath.Join(to, "f"), &f), unix.Stat(filepath.Join(to, "d/hard"), &hard),
		unix.Stat(filepath.Join(to, "d/g"), &sparse), unix.Stat(filepath.Join(to, "d"), &d)); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(to, "link"))
	if err != nil || link != "/etc" || f.Ino != hard.Ino || sparse.Blocks > 1<<10 || d.Mode&0o7777 != 0o2751 || f.Mtim.Nsec != 3 || string(value[:n]) != "x" {
		t.Errorf("link %q, %v; %+v, %+v, %+v, %+v, %q", link, err, f, hard, sparse, d, value[:n])
	}
	if err := copyOut(t.Context(), filepath.Join(dir, "none"), filepath.Join(dir, "nothing")); err == nil {
		t.Error("what is not there was copied")
	}
}

// A copy that does not fit is removed again, and what was there stays.
func TestCopyOnAFullDisk(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("none", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	from, path := tree(t, filepath.Join(t.TempDir(), "from"), "a", "b/c"), tree(t, filepath.Join(small, "v"), "mine")
	if err := os.WriteFile(filepath.Join(from, "big"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	it := Item{Method: Copy, Paths: []string{path}, Aside: filepath.Join(small, ".aside"), Old: identity(t, path)}
	if err := copyOut(t.Context(), from, it.Aside); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("%v", err)
	}
	w := &Work{}
	for range 2 {
		if err := w.remove(t.Context(), it); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(small); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	it.Aside = path
	if err := w.remove(t.Context(), it); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("what was there before is removed: %v, want ErrForeign", err)
	}
}

func TestBeneath(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "a/b/c", "elsewhere/f")
	for link, to := range map[string]string{"in": "a", "out": "/etc", "up": "..", "a/b/link": "c"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, inside := range []string{".", "a", "a/b", "a/b/c"} {
		if at, err := beneath(dir, inside); err != nil || at != filepath.Join(dir, inside) {
			t.Errorf("%s: %q, %v", inside, at, err)
		}
	}
	for _, inside := range []string{"..", "../x", "a/../..", "in/b", "out/passwd", "up", "out", "in", "a/b/link", "none", "/etc", ""} {
		if at, err := beneath(dir, inside); err == nil {
			t.Errorf("%q leads to %s", inside, at)
		}
	}
}
