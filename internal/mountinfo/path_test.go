package mountinfo_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/internal/testhost"
)

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
		if rel, ok := mountinfo.Below(tc.dir, tc.at); ok != tc.ok || ok && rel != tc.rel {
			t.Errorf("Below(%s, %s) = %q, %t", tc.dir, tc.at, rel, ok)
		}
	}
}

func FuzzBelow(f *testing.F) {
	f.Add("/srv/a", "/srv/ab")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = filepath.Join("/", a), filepath.Join("/", b)
		want, err := filepath.Rel(a, b)
		below := err == nil && want != ".." && !strings.HasPrefix(want, "../")
		if got, ok := mountinfo.Below(a, b); ok != below || ok && got != want {
			t.Fatalf("Below(%q, %q) = %q, %t, want %q, %t", a, b, got, ok, want, below)
		}
	})
}

func TestInside(t *testing.T) {
	m := mountinfo.Mount{Root: "/@a", Point: "/mnt"}
	for at, want := range map[string]string{"/mnt": "/@a", "/mnt/x/y": "/@a/x/y", "/mntx": "", "/": ""} {
		if got, ok := m.Inside(at); got != want || ok != (want != "") {
			t.Errorf("Inside(%s) = %q, %t", at, got, ok)
		}
	}
}

// odd has all that the kernel escapes, and white space that it does not.
const odd = "a b\tc\nd\\e\\040\rf\u00a0g#"

func TestMounted(t *testing.T) {
	top := testhost.Btrfs(t, 128<<20)
	sub, at := filepath.Join(top, "sub"), filepath.Join(top, odd)
	must(t, errors.Join(os.MkdirAll(filepath.Join(sub, "in"), 0o755), os.Mkdir(at, 0o755)))
	must(t, unix.Mount(sub, at, "", unix.MS_BIND, ""))
	all := read(t)

	m, inside, err := mountinfo.Containing(all, filepath.Join(at, "in"))
	if err != nil || m.Point != at || m.Root != "/sub" || inside != "/sub/in" || m.FS != "btrfs" || !m.Reachable() {
		t.Errorf("bound: %+v, %s, %v", m, inside, err)
	}
	of, inside, err := mountinfo.Containing(all, filepath.Join(sub, "in"))
	if err != nil || of.Point != top || of.Dev != m.Dev || of.Source != m.Source || inside != "/sub/in" {
		t.Errorf("not bound: %+v, %s, %v", of, inside, err)
	}
	if _, _, err := mountinfo.Containing([]mountinfo.Mount{of}, at); err == nil || !strings.Contains(err.Error(), "not listed") {
		t.Errorf("another's: %v", err)
	}
	if _, _, err := mountinfo.Containing(all, filepath.Join(at, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}

	link := filepath.Join(top, "link")
	must(t, os.Symlink(at, link))
	if id, err := mountinfo.ID(link); err != nil || id != of.ID {
		t.Errorf("a link was followed from mount %d to %d: %v", of.ID, id, err)
	}

	must(t, unix.Mount("over it", at, "tmpfs", 0, ""))
	if m.Reachable() {
		t.Error("a mount that is hidden can be reached")
	}
	m, inside, err = mountinfo.Containing(read(t), at)
	if err != nil || m.FS != "tmpfs" || m.Source != "over it" || inside != "/" || !m.Reachable() {
		t.Errorf("over it: %+v, %s, %v", m, inside, err)
	}
}

// TestNamespaces: a namespace with two processes in it is one.
func TestNamespaces(t *testing.T) {
	top := testhost.Btrfs(t, 128<<20)
	at := filepath.Join(top, odd)
	must(t, os.Mkdir(at, 0o755))
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs elsewhere "$1" && (echo && exec cat); :`, "sh", at)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	elsewhere := func(m mountinfo.Mount) bool { return m.Source == "elsewhere" && m.Point == at }
	if here := read(t); slices.ContainsFunc(here, elsewhere) {
		t.Fatal("it is mounted here too")
	}
	found, seen := count(t, elsewhere), count(t, func(m mountinfo.Mount) bool { return m.Point == top })
	if found != 1 || seen < 2 {
		t.Errorf("found in %d namespaces, what is below it in %d", found, seen)
	}
	must(t, in.Close())
	must(t, cmd.Wait())
	if found := count(t, elsewhere); found != 0 {
		t.Errorf("then still in %d", found)
	}
}

// count is the number of namespaces that have such a mount.
func count(t *testing.T, such func(mountinfo.Mount) bool) (n int) {
	t.Helper()
	for all, err := range mountinfo.Namespaces() {
		must(t, err)
		if slices.ContainsFunc(all, such) {
			n++
		}
	}
	return n
}

func read(t *testing.T) []mountinfo.Mount {
	t.Helper()
	all, err := mountinfo.Read()
	must(t, err)
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
