package killtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/fixture"
)

// btrfsTop is a Btrfs.
type btrfsTop struct{ fixture.Btrfs }

// things asks btrfs-progs for the subvolumes of the whole file system, by absolute path.
func (b btrfsTop) things(t *testing.T) map[string]thing {
	t.Helper()
	found := map[string]thing{}
	for _, flags := range []string{"-u", "-ur"} { // the second lists those that are read-only
		for line := range strings.Lines(command(t, "btrfs", "subvolume", "list", flags, b.Top)) {
			_, rest, _ := strings.Cut(line, " uuid ")
			uuid, path, ok := strings.Cut(strings.TrimSuffix(rest, "\n"), " path ")
			if !ok {
				t.Fatalf("btrfs subvolume list printed %q", line)
			}
			found[filepath.Join(b.Top, path)] = thing{uuid, flags == "-ur", setOf(filepath.Base(path))}
		}
	}
	return found
}

// stores are the directories of the app's snapshots.
func (b btrfsTop) stores(t *testing.T, a *app) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.Top, ".volsnap", a.name+"-[abc]-*"))
	if err != nil || len(found) != 3 {
		t.Fatalf("directories of snapshots: %v, %v; want 3 %+v", found, err, a.list(t))
	}
	return found
}

// strange makes snapshots in the very directories in which volsnap's lie, and a subvolume elsewhere.
func (b btrfsTop) strange(t *testing.T, a *app) []string {
	t.Helper()
	store := b.stores(t, a)[0]
	paths := []string{
		filepath.Join(store, "before-upgrade"),
		filepath.Join(store, "volsnap-"+a.name+"-"+longAgo),
		filepath.Join(b.Top, ".volsnap", a.of("by-hand")),
		filepath.Join(b.Top, a.of("other")),
	}
	for _, path := range paths {
		command(t, "btrfs", "subvolume", "snapshot", "-r", a.volume("a"), path)
	}
	if err := os.WriteFile(filepath.Join(store, "notes.txt"), []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return paths
}

// litter is of files, of which a record without its set is one.
func (b btrfsTop) litter(t *testing.T, a *app, ids map[string]bool) (found []string) {
	t.Helper()
	for _, store := range b.stores(t, a) {
		entries, err := os.ReadDir(store)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(store, e.Name())
			id, _, _ := strings.Cut(setOf(e.Name()), "Z")
			_, foreign := a.foreign[path]
			if !foreign && e.Name() != "notes.txt" && (!ids[id+"Z"] || strings.HasSuffix(path, ".tmp")) {
				found = append(found, path)
			}
		}
	}
	return found
}

func (b btrfsTop) open(_ *testing.T, snapshots []string) (dirs []string, done func()) {
	return snapshots, func() {}
}

// rename finds the id in the names of snapshots and of their records, and in the records.
func (b btrfsTop) rename(t *testing.T, a *app, from, to string) {
	t.Helper()
	for _, store := range b.stores(t, a) {
		renameFiles(t, store, from, to)
	}
}

// renameFiles gives the files of a set another id, in names and in contents. Directories, which may be read-only snapshots,
// are not looked into.
func renameFiles(t *testing.T, dir, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Name(), from) {
			continue
		}
		path, next := filepath.Join(dir, e.Name()), filepath.Join(dir, strings.Replace(e.Name(), from, to, 1))
		if !e.IsDir() {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(path, next); err != nil {
			t.Fatal(err)
		}
	}
}
