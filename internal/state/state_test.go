package state_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/state"
)

func TestWriteFileReplacesAndReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new dir", "a file")
	for _, text := range []string{"first, and longer", "second"} {
		if err := state.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := state.ReadFile(path, 100)
		if err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("directory holds %v, %v; want the file alone", left, err)
	}
	if err := state.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := state.Remove(path); err != nil {
		t.Fatalf("remove twice: %v", err)
	}
	if _, err := state.ReadFile(path, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("read after remove: %v", err)
	}
}

// A file that is gone stays away, and one that is there is replaced without a trace.
func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file")
	if err := state.ReplaceFile(path, []byte("new"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("where there is none: %v", err)
	}
	if err := state.WriteFile(path, []byte("old, and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.ReplaceFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := state.ReadFile(path, 100); err != nil || string(got) != "new" {
		t.Fatalf("read %q, %v", got, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Fatalf("directory holds %v, %v; want the file alone", left, err)
	}
	if err := state.ReplaceFile(filepath.Join(filepath.Dir(path), "none", "a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a directory: %v", err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 101), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(big, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{big, link, dir} {
		if _, err := state.ReadFile(path, 100); err == nil {
			t.Errorf("read %s: no error", path)
		}
	}
}

func TestWriteFileKeepsTheOldOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	path := filepath.Join(dir, "f")
	if err := state.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteFile(path, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("a write past the end of the disk did not fail")
	}
	got, err := state.ReadFile(path, 100)
	if err != nil || string(got) != "old" {
		t.Fatalf("after a failed write: %q, %v", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	first, err := state.LockApp(t.Context(), dir, "ccn")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.LockApp(t.Context(), dir, "ccn"); !errors.Is(err, state.ErrLocked) {
		t.Fatalf("second lock: %v; want ErrLocked", err)
	}
	other, err := state.LockApp(t.Context(), dir, "other")
	if err != nil {
		t.Fatalf("another app: %v", err)
	}
	for _, l := range []*state.Lock{first, other} {
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := state.LockApp(t.Context(), dir, "ccn")
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

// A lock whose taker died but whose child lives on is waited for, not refused. The test binary plays the taker: it locks,
// starts a child that inherits the lock, and kills itself.
func TestLockWaitsForTheChildOfADeadTaker(t *testing.T) {
	if dir := os.Getenv("LOCK_TAKER"); dir != "" {
		l, err := state.LockApp(t.Context(), dir, "ccn")
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command("/bin/cat")
		child.ExtraFiles = []*os.File{l.File()}
		child.Stdin = os.Stdin
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	dir := t.TempDir()
	taker := exec.Command(os.Args[0], "-test.run=^TestLockWaitsForTheChildOfADeadTaker$")
	taker.Env = append(os.Environ(), "LOCK_TAKER="+dir)
	hold, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	taker.Stdin = hold
	out, err := taker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := taker.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) || !strings.Contains(line, "locked") {
		t.Fatalf("taker said %q, %v", line, err)
	}
	_ = taker.Wait()
	_ = hold.Close()

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := state.LockApp(short, dir, "ccn"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while the child lives: %v; want a wait until the deadline", err)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := state.LockApp(t.Context(), dir, "ccn")
	if err != nil {
		t.Fatalf("after the child: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestSweepRemovesTemporaryFilesAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".a.json123", ".a.json", "a.json", "a.json123", ".b.json123", ".a.json12x"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(state.Sweep(dir, "a.json"), state.Sweep(filepath.Join(dir, "none"), "a.json")); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 5 {
		t.Fatalf("left: %v, %v; want all but .a.json123", left, err)
	}
}
