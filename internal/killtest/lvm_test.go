package killtest

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/fixture"
)

// lvmGroup is a volume group with a thin pool.
type lvmGroup struct {
	fixture.LVM
	group string
}

func (l lvmGroup) things(t *testing.T) map[string]thing {
	t.Helper()
	found := map[string]thing{}
	const fields = "lv_full_name,lv_uuid,lv_permissions"
	for line := range strings.Lines(command(t, "lvs", "--noheadings", "--separator", "|", "--options", fields, l.group)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		if len(parts) != 3 {
			t.Fatalf("lvs printed %q", line)
		}
		id, _, _ := strings.Cut(setOf(filepath.Base(parts[0])), "Z")
		if id != "" {
			id += "Z"
		}
		found[parts[0]] = thing{parts[1], parts[2] == "read-only", id}
	}
	return found
}

// strange makes two snapshots of a volume, one of them with the name that volsnap would give it, a copy that can be written
// to, and one of that.
func (l lvmGroup) strange(t *testing.T, a *app) []string {
	t.Helper()
	volume := l.group + "/" + a.of("a")
	uuid := strings.TrimSpace(command(t, "lvs", "--noheadings", "--options", "lv_uuid", volume))
	short, _, _ := strings.Cut(uuid, "-")
	names := []string{a.of("before-upgrade"), "volsnap-" + a.name + "-" + longAgo + "." + short, a.of("other"), a.of("other-too")}
	for i, name := range names {
		origin, permission := volume, "r"
		if i == 3 {
			origin = l.group + "/" + names[2]
		}
		if i == 2 {
			permission = "rw"
		}
		command(t, "lvcreate", "--quiet", "--yes", "--snapshot", "--permission", permission, "--name", name, origin)
		names[i] = name
	}
	for i := range names {
		names[i] = l.group + "/" + names[i]
	}
	return names
}

// litter is nothing: all that volsnap keeps is with its snapshots.
func (l lvmGroup) litter(*testing.T, *app, map[string]bool) []string { return nil }

// open activates the snapshots and mounts them without replaying a journal: it is empty.
func (l lvmGroup) open(t *testing.T, snapshots []string) (dirs []string, done func()) {
	t.Helper()
	command(t, append([]string{"lvchange", "--quiet", "--activate", "y", "--ignoreactivationskip"}, snapshots...)...)
	for _, s := range snapshots {
		dir := t.TempDir()
		command(t, "mount", "-o", "ro,noload", "/dev/"+s, dir)
		dirs = append(dirs, dir)
	}
	return dirs, func() {
		for _, dir := range dirs {
			command(t, "umount", dir)
			_ = os.Remove(dir)
		}
		command(t, append([]string{"lvchange", "--quiet", "--activate", "n"}, snapshots...)...)
	}
}

// awake are the snapshots of a set that have a device.
func (l lvmGroup) awake(t *testing.T, id string) (names []string) {
	t.Helper()
	for line := range strings.Lines(command(t, "lvs", "--noheadings", "--options", "lv_name", "--select", "lv_active=active", l.group)) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "volsnap-"+id) {
			names = append(names, name)
		}
	}
	return names
}

// rename finds the id in the names of snapshots and in their tags.
func (l lvmGroup) rename(t *testing.T, _ *app, from, to string) {
	t.Helper()
	for name, one := range l.things(t) {
		if one.Set != from {
			continue
		}
		next := strings.Replace(name, from, to, 1)
		command(t, "lvrename", "--quiet", name, next)
		for tag := range strings.SplitSeq(strings.TrimSpace(command(t, "lvs", "--noheadings", "--options", "lv_tags", next)), ",") {
			if renamed := renameTag(tag, from, to); renamed != tag {
				command(t, "lvchange", "--quiet", "--deltag", tag, "--addtag", renamed, next)
			}
		}
	}
}

// renameTag changes a tag of the form key=VALUE, whose value is base64.
func renameTag(tag, from, to string) string {
	key, value, _ := strings.Cut(tag, "=")
	text, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || !strings.Contains(string(text), from) {
		return tag
	}
	return key + "=" + base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(text), from, to)))
}
