package tree_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/tree"
)

func planted(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("d"), 0o750), os.WriteFile(at("d/f"), []byte("content"), 0o640), os.WriteFile(at("empty"), nil, 0o600),
		os.Symlink("d/f", at("link")), os.Link(at("d/f"), at("second")), unix.Mkfifo(at("fifo"), 0o600),
		os.WriteFile(at("new\nline"), []byte("x"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stamp(t, dir)
	return dir
}

// stamp gives everything one time.
func stamp(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(at string, _ os.DirEntry, err error) error {
		when := unix.NsecToTimespec(time.Unix(1_700_000_000, 5).UnixNano())
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func of(t *testing.T, dir string) tree.Digest {
	t.Helper()
	d, err := tree.Of(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEqualTreesHaveOneDigest(t *testing.T) {
	a, b := of(t, planted(t)), of(t, planted(t))
	if a != b || a.Files != 8 || a.Bytes != 8 {
		t.Errorf("%+v and %+v", a, b)
	}
}

// Each difference that counts makes another digest.
func TestDifferences(t *testing.T) {
	want := of(t, planted(t))
	for name, change := range map[string]func(at func(string) string) error{
		"content":  func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("Content"), 0) },
		"size":     func(at func(string) string) error { return os.Truncate(at("d/f"), 6) },
		"mode":     func(at func(string) string) error { return os.Chmod(at("empty"), 0o601) },
		"setuid":   func(at func(string) string) error { return os.Chmod(at("empty"), 0o600|os.ModeSetuid) },
		"name":     func(at func(string) string) error { return os.Rename(at("empty"), at("Empty")) },
		"place":    func(at func(string) string) error { return os.Rename(at("empty"), at("d/empty")) },
		"one more": func(at func(string) string) error { return os.WriteFile(at("more"), nil, 0o600) },
		"one less": func(at func(string) string) error { return os.Remove(at("empty")) },
		"a link's end": func(at func(string) string) error {
			return errors.Join(os.Remove(at("link")), os.Symlink("d/g", at("link")))
		},
		"a kind": func(at func(string) string) error {
			return errors.Join(os.Remove(at("fifo")), os.WriteFile(at("fifo"), nil, 0o600))
		},
		"two for one": func(at func(string) string) error {
			return errors.Join(os.Remove(at("second")), os.WriteFile(at("second"), []byte("content"), 0o640))
		},
		"line for name": func(at func(string) string) error { return os.Rename(at("new\nline"), at("new line")) },
		"an attribute":  func(at func(string) string) error { return unix.Setxattr(at("d"), "user.x", []byte("1"), 0) },
		"an owner": func(at func(string) string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(at("d"), 0o700)
			}
			return os.Lchown(at("link"), 7, 7)
		},
	} {
		dir := planted(t)
		if err := change(func(name string) string { return filepath.Join(dir, name) }); err != nil {
			t.Fatal(name, err)
		}
		stamp(t, dir)
		if got := of(t, dir); got.SHA256 == want.SHA256 {
			t.Errorf("%s makes no difference", name)
		}
	}
	dir := planted(t)
	if err := os.Chtimes(filepath.Join(dir, "empty"), time.Unix(1, 0), time.Unix(1_700_000_000, 6)); err != nil {
		t.Fatal(err)
	}
	if of(t, dir).SHA256 == want.SHA256 {
		t.Error("a nanosecond makes no difference")
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tree.Of(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := tree.Of(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there has a digest")
	}
}
