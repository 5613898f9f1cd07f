package killtest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/fixture"
)

// zfsPool is a pool of ZFS.
type zfsPool struct{ fixture.ZFS }

func (z zfsPool) things(t *testing.T) map[string]thing {
	t.Helper()
	found := map[string]thing{}
	for line := range strings.Lines(command(t, "zfs", "list", "-Hpr", "-t", "all", "-o", "name,guid,type", z.Pool)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			t.Fatalf("zfs list printed %q", line)
		}
		_, snapshot, _ := strings.Cut(fields[0], "@")
		found[fields[0]] = thing{fields[1], fields[2] == "snapshot", setOf(snapshot)}
	}
	return found
}

// strange makes snapshots of a volume, and a clone of one of them with a snapshot of its own.
func (z zfsPool) strange(t *testing.T, a *app) []string {
	t.Helper()
	top := filepath.Dir(a.DataRoot) // what is mounted there is unmounted with the pool
	other := filepath.Join(top, a.of("other"))
	first := made(t, z.Snapshot, a.volume("a"), "before-upgrade")
	second := made(t, z.Snapshot, a.volume("a"), "volsnap-"+a.name+"-"+longAgo)
	if _, err := z.Clone(t.Context(), second, other); err != nil {
		t.Fatal(err)
	}
	clone := z.Pool + "/" + filepath.Base(top) + "-" + a.of("other")
	command(t, "zfs", "snapshot", clone+"@volsnap-"+a.name+"-"+longAgo)
	return []string{first, second, clone, clone + "@volsnap-" + a.name + "-" + longAgo}
}

// litter is nothing: all that volsnap keeps is with its snapshots.
func (z zfsPool) litter(*testing.T, *app, map[string]bool) []string { return nil }

// open relies on the directory .zfs, where the kernel mounts what is asked for. It is not said when it is not needed any
// more, as an operator would not: volsnap has to be able to destroy the snapshot all the same.
func (z zfsPool) open(t *testing.T, snapshots []string) (dirs []string, done func()) {
	t.Helper()
	var mounts []string
	for _, s := range snapshots {
		dataset, snapshot, _ := strings.Cut(s, "@")
		top := strings.TrimSpace(command(t, "zfs", "get", "-Hp", "-o", "value", "mountpoint", dataset))
		if top == "none" { // a restore has put another in the dataset's place
			top = t.TempDir()
			command(t, "mount", "-t", "zfs", s, top)
			mounts = append(mounts, top)
			dirs = append(dirs, top)
			continue
		}
		dirs = append(dirs, filepath.Join(top, ".zfs", "snapshot", snapshot))
	}
	return dirs, func() {
		for _, at := range mounts {
			command(t, "umount", at)
		}
	}
}

// rename finds the id in the names of snapshots and in their properties.
func (z zfsPool) rename(t *testing.T, a *app, from, to string) {
	t.Helper()
	for name, one := range z.things(t) {
		if one.Set != from {
			continue
		}
		next := strings.Replace(name, from, to, 1)
		command(t, "zfs", "rename", name, next)
		for line := range strings.Lines(command(t, "zfs", "get", "-Hp", "-s", "local", "-o", "property,value", "all", next)) {
			property, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if strings.Contains(value, from) {
				command(t, "zfs", "set", property+"="+strings.ReplaceAll(value, from, to), next)
			}
		}
	}
}
