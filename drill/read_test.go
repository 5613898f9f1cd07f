package drill

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/testhost"
)

// Only what is a regular file is opened, and no more of it read than it can have.
func TestReadRegular(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs)) // that is: of root
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	at := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(
		os.WriteFile(at("file"), []byte("12345"), 0o600), os.Mkdir(at("dir"), 0o755), os.Symlink("file", at("link")), os.Symlink("/etc/passwd", at("out")),
		unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))), unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
	)
	if err != nil {
		t.Fatal(err)
	}
	enough := time.AfterFunc(30*time.Second*testhost.Slow(), func() { panic("it waits for a writer") })
	defer enough.Stop()
	if text, err := readRegular(root, "file", 5); string(text) != "12345" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	for name, want := range map[string]error{
		"file": errTooLong, "none": fs.ErrNotExist, "dir": errNotRegular, "link": errNotRegular, "out": errNotRegular, "fifo": errNotRegular, "device": errNotRegular, "socket": errNotRegular,
	} {
		if text, err := readRegular(root, name, 4); text != nil || !errors.Is(err, want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
