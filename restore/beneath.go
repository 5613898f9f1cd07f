package restore

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// beneath is the path of what lies at inside in a directory. What a container has put on the way, such as a symbolic link, leads
// nowhere else: ELOOP or EXDEV.
func beneath(dir, inside string) (string, error) {
	top, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = top.Close() }() // a directory
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(top.Fd()), inside, &how)
	if err != nil {
		return "", fmt.Errorf("%s in the snapshot: %w", inside, err)
	}
	return filepath.Join(dir, inside), unix.Close(fd)
}
