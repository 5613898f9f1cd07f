package replicatest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/testhost"
)

// subvol is what Btrfs's own tools say of a subvolume.
type subvol struct {
	UUID, Received string
	ReadOnly       bool
}

// subvols are those of a file system, by their absolute paths.
func subvols(t *testing.T, top string) map[string]subvol {
	t.Helper()
	found := map[string]subvol{}
	for _, only := range []string{"", "-r"} {
		argv := []string{"btrfs", "subvolume", "list", "-u", "-R"}
		if only != "" {
			argv = append(argv, only)
		}
		for line := range strings.Lines(command(t, append(argv, top)...)) {
			head, path, ok := strings.Cut(strings.TrimSpace(line), " path ")
			words := strings.Fields(head)
			if !ok || len(words) < 4 || words[len(words)-2] != "uuid" || words[len(words)-4] != "received_uuid" {
				t.Fatalf("line %q of a list of subvolumes", line)
			}
			found[filepath.Join(top, path)] = subvol{
				UUID: words[len(words)-1], Received: strings.Trim(words[len(words)-3], "-"), ReadOnly: only != "",
			}
		}
	}
	for path, s := range found {
		if strings.ReplaceAll(s.Received, "-", "") == "" {
			s.Received = ""
			found[path] = s
		}
	}
	return found
}

// shown is what `btrfs subvolume show` says.
func shown(t *testing.T, path string) (s subvol) {
	t.Helper()
	for line := range strings.Lines(command(t, "btrfs", "subvolume", "show", path)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "UUID":
			s.UUID = value
		case "Received UUID":
			s.Received = strings.TrimPrefix(value, "-")
		case "Flags":
			s.ReadOnly = value == "readonly"
		}
	}
	return s
}

// digestsOf are digests of all that directories hold: names, contents, owners, modes, times, links and extended attributes, as
// GNU tar reads them.
func digestsOf(t *testing.T, dirs []string) map[string]string {
	t.Helper()
	const script = `for d; do tar --create --sort=name --numeric-owner --xattrs --xattrs-include='*' --acls --sparse --format=posix ` +
		`--pax-option=delete=atime,delete=ctime --directory "$d" . | sha256sum || exit 1; done`
	sums := strings.Fields(command(t, append([]string{"bash", "-o", "pipefail", "-c", script, "bash"}, dirs...)...))
	if len(sums) != 2*len(dirs) {
		t.Fatalf("digests of %q: %q", dirs, sums)
	}
	found := map[string]string{}
	for i, dir := range dirs {
		found[dir] = sums[2*i]
	}
	return found
}

// mount mounts the Btrfs of a pool again, whose image is where testhost put it.
func mount(t *testing.T, p *testhost.Pool) {
	t.Helper()
	command(t, "mount", "-t", "btrfs", "-o", "loop,nobarrier", filepath.Join(p.Dir, "image"), p.Top)
}

// quicken lets a Btrfs not wait for the disk: here processes die, and the kernel lives on.
func quicken(t *testing.T, p *testhost.Pool) {
	t.Helper()
	command(t, "mount", "-o", "remount,nobarrier", p.Top)
}
