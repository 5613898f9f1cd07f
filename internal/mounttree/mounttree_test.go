package mounttree_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/internal/mounttree"
)

// plant makes a directory with what a container may have put there, and returns it with an empty one to mount at.
func plant(t *testing.T) (from, at string) {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from, at = filepath.Join(base, "from here"), filepath.Join(base, "at")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(from, "a b", "deep"), 0o755), os.Mkdir(at, 0o755),
		os.WriteFile(filepath.Join(from, "a b", "deep", "f"), []byte("deep"), 0o644),
		os.WriteFile(filepath.Join(from, "file"), []byte("file"), 0o755),
		os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o600),
		os.Symlink("/", filepath.Join(from, "root")), os.Symlink("a b", filepath.Join(from, "link")),
		os.Symlink("../secret", filepath.Join(from, "out")), os.Symlink("/proc/self/root", filepath.Join(from, "magic")),
		unix.Mkfifo(filepath.Join(from, "pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mounttree.Remove(at); err != nil {
			t.Error(err)
		}
		checkGone(t, at)
	})
	return from, at
}

// staged begins a tree that shows things out of one directory.
func staged(t *testing.T, from, at string) *mounttree.Tree {
	t.Helper()
	tree, err := mounttree.New(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() }) // twice is an error, and no harm
	dir, err := tree.Stage(0)
	if err == nil {
		err = unix.Mount(from, dir, "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func checkGone(t *testing.T, at string) {
	t.Helper()
	all, err := mountinfo.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, in := mountinfo.Below(at, m.Point); in {
			t.Errorf("%s is mounted", m.Point)
		}
	}
	if left, err := os.ReadDir(at); err != nil || len(left) > 0 {
		t.Errorf("%s holds %v, %v", at, left, err)
	}
}

func TestShowsReadOnly(t *testing.T) {
	from, at := plant(t)
	tree := staged(t, from, at)
	if err := errors.Join(
		tree.Show(0, "a b/deep", "a dir"), tree.Show(0, "file", "a file"), tree.Show(0, ".", "all"), tree.Unstage(0), tree.Finish(), tree.Close(),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a dir/f": "deep", "a file": "file", "all/file": "file"} {
		if got, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"new", "all/new", "a dir/f", "a file"} {
		if f, err := os.OpenFile(filepath.Join(at, name), os.O_WRONLY|os.O_CREATE, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s can be written: %v, %v", name, f, err)
		}
	}
	if err := exec.Command(filepath.Join(at, "a file")).Run(); !errors.Is(err, unix.EACCES) {
		t.Errorf("it can be executed: %v", err)
	}
	if left, err := os.ReadDir(at); err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
	if there, err := mounttree.At(at); !there || err != nil {
		t.Errorf("at: %t, %v", there, err)
	}
	if err := mounttree.Remove(at); err != nil {
		t.Error(err)
	}
	if there, err := mounttree.At(at); there || err != nil {
		t.Errorf("afterwards at: %t, %v", there, err)
	}
	if got, err := os.ReadFile(filepath.Join(from, "file")); err != nil || string(got) != "file" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLeadsNowhereElse: who wrote the snapshot decides no more than what is in it.
func TestLeadsNowhereElse(t *testing.T) {
	from, at := plant(t)
	tree := staged(t, from, at)
	for _, path := range []string{
		"root", "root/etc", "link", "link/deep", "out", "magic", "magic/etc", "..", "../secret", "a b/../../secret", "/", "/etc/passwd", "",
		"none", "pipe", "file/x", "a b\x00",
	} {
		if err := tree.Show(0, path, "entry"); err == nil {
			t.Errorf("%q was shown", path)
		}
	}
	for _, name := range []string{"", ".", "..", "/", "a/b", "../x", ".volsnap", strings.Repeat("x", 300), "a\x00"} {
		if err := tree.Show(0, "file", name); err == nil {
			t.Errorf("%q is an entry", name)
		}
	}
	if err := tree.Show(1, "file", "entry"); err == nil {
		t.Error("out of what was never staged")
	}
	if left, err := os.ReadDir(at); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
}

// TestRemovesHalf: what a killed process leaves goes.
func TestRemovesHalf(t *testing.T) {
	steps := []func(*mounttree.Tree) error{
		func(tree *mounttree.Tree) error { return nil },
		func(tree *mounttree.Tree) error { return tree.Show(0, "a b", "one") },
		func(tree *mounttree.Tree) error { return tree.Show(0, "file", "two") },
		func(tree *mounttree.Tree) error { return tree.Unstage(0) },
		func(tree *mounttree.Tree) error { return tree.Finish() },
	}
	for n := range steps {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			from, at := plant(t)
			tree := staged(t, from, at)
			for _, step := range steps[:n+1] {
				if err := step(tree); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(tree.Close(), mounttree.Remove(at), mounttree.Remove(at)); err != nil {
				t.Error(err)
			}
			checkGone(t, at)
		})
	}
}

func TestRemoveWhileInUse(t *testing.T) {
	from, at := plant(t)
	tree := staged(t, from, at)
	if err := errors.Join(tree.Show(0, "a b", "one"), tree.Unstage(0), tree.Finish(), tree.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(at, "one", "deep", "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := mounttree.Remove(at); !errors.Is(err, mounttree.ErrInUse) {
		t.Errorf("with an open file: %v", err)
	}
	if err := errors.Join(f.Close(), mounttree.Remove(at)); err != nil {
		t.Error(err)
	}
}

// TestMountsOfOthersStay: over the tree, and in the directory instead of one.
func TestMountsOfOthersStay(t *testing.T) {
	from, at := plant(t)
	tree := staged(t, from, at)
	if err := errors.Join(tree.Show(0, "a b", "one"), tree.Unstage(0), tree.Finish(), tree.Close()); err != nil {
		t.Fatal(err)
	}
	mount := func(dir string) {
		t.Helper()
		if err := unix.Mount("other", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	unmount := func(dir string) {
		t.Helper()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}
	inner := filepath.Join(at, "one", "deep")
	mount(inner)
	if err := mounttree.Remove(at); !errors.Is(err, mounttree.ErrInUse) {
		t.Errorf("with another mount in it: %v", err)
	}
	unmount(inner)
	mount(at)
	if there, err := mounttree.At(at); there || !errors.Is(err, mounttree.ErrOther) {
		t.Errorf("at: %t, %v", there, err)
	}
	if err := mounttree.Remove(at); !errors.Is(err, mounttree.ErrOther) {
		t.Errorf("below another mount: %v", err)
	}
	unmount(at)
	if err := mounttree.Remove(at); err != nil {
		t.Error(err)
	}
	mount(at)
	if err := mounttree.Remove(at); !errors.Is(err, mounttree.ErrOther) {
		t.Errorf("of another mount: %v", err)
	}
	unmount(at)
}

// TestGoesFromOtherNamespaces: a namespace that was made while a tree was there keeps nothing of it, where mounts are shared as systemd
// has it. Otherwise a service that was started meanwhile would keep the snapshot in use.
func TestGoesFromOtherNamespaces(t *testing.T) {
	from, at := plant(t)
	base := filepath.Dir(at)
	if err := errors.Join(unix.Mount(base, base, "", unix.MS_BIND, ""), unix.Mount("", base, "", unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(mounttree.Remove(at), unix.Unmount(base, 0)); err != nil {
			t.Error(err)
		}
	})
	tree := staged(t, from, at)
	if err := errors.Join(tree.Show(0, "a b", "one"), tree.Unstage(0), tree.Finish(), tree.Close()); err != nil {
		t.Fatal(err)
	}
	service := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo ready; read end")
	in, err := service.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := service.StdoutPipe()
	if err == nil {
		err = service.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), service.Wait() }) // it ends by the end of its input
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	seen := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", service.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if !strings.Contains(seen(), " "+at+"/one ") {
		t.Fatalf("the other namespace does not have it:\n%s", seen())
	}
	if err := mounttree.Remove(at); err != nil {
		t.Error(err)
	}
	if strings.Contains(seen(), " "+at) {
		t.Errorf("the other namespace still has it:\n%s", seen())
	}
}
