package killtest

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

// storage is the pool under test, by its own tools: what volsnap's drivers say of it is not believed.
type storage interface {
	fixture.Storage
	// things are the datasets and snapshots of the pool, by the name that a manifest gives them. They include the volumes.
	things(t *testing.T) map[string]thing
	// strange makes four things that volsnap must leave alone, where they are most easily taken for snapshots of the app: one
	// has a name as volsnap gives it.
	strange(t *testing.T, a *app) []string
	// litter is what lies with the app's snapshots, is no thing, and belongs to none of the sets with these ids.
	litter(t *testing.T, a *app, ids map[string]bool) []string
	// open makes the content of snapshots readable, in the directories that it returns, until done is called.
	open(t *testing.T, snapshots []string) (dirs []string, done func())
	// rename gives the snapshots of a set another id.
	rename(t *testing.T, a *app, from, to string)
}

// thing is what is not told from another by its name alone.
type thing struct {
	GUID     string // as manifests have it
	ReadOnly bool
	Set      string // the id of the set that it has the name of
}

func storageOn(p *testhost.Pool) storage {
	switch on := fixture.StorageOn(p).(type) {
	case fixture.ZFS:
		return zfsPool{on}
	case fixture.LVM:
		return lvmGroup{on, filepath.Dir(on.ThinPool)}
	}
	return btrfsTop{fixture.Btrfs{Top: p.Top}}
}

// setOf is the id in the name that volsnap gives to snapshots.
func setOf(name string) string {
	id, ours := strings.CutPrefix(name, "volsnap-")
	if !ours {
		return ""
	}
	return id
}

// made is for what must succeed and returns one thing.
func made(t *testing.T, make func(context.Context, string, string) (string, error), path, name string) string {
	t.Helper()
	snapshot, err := make(context.Background(), path, name)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}
