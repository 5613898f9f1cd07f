package replicate_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
)

// arrived is a place at which the members of one set have arrived.
type arrived struct {
	driver.Receiver // what is not below panics: nothing may call it
	snaps           []driver.Snapshot
}

func (*arrived) Kind() string      { return "fake" }
func (*arrived) Formats() []string { return nil }

func (a *arrived) Snapshots(context.Context, ...driver.Dataset) ([]driver.Snapshot, error) {
	return a.snaps, nil
}

func (*arrived) Partials(context.Context) ([]driver.Partial, error) { return nil, nil }

func (a *arrived) Seal(context.Context, string, ...driver.Snapshot) error { return nil }

// TestCommitAfterAKill: what a process that was killed left of the set's manifest goes, and that of others stays.
func TestCommitAfterAKill(t *testing.T) {
	const id = driver.SetID("ccn-20261121T020000.123Z")
	m := driver.Snapshot{Dataset: driver.Dataset{Kind: "fake", Name: "/a"}, Name: "/s/a", Set: id, Member: 1, Of: 1, GUID: "a"}
	store := snapset.Store{Dir: t.TempDir()}
	dir := filepath.Join(store.Dir, "sets", "ccn")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const other = ".ccn-20261121T030000.123Z.json7"
	for _, name := range []string{"." + string(id) + ".json12345", other} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := replicate.Place{Receivers: []driver.Receiver{&arrived{snaps: []driver.Snapshot{m}}}, Store: store}
	manifest := &snapset.Manifest{ID: id, App: "ccn", Members: []snapset.Member{{GUID: "a"}}}
	if err := place.Commit(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{other, string(id) + ".json"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A manifest lies on the host's own disk: one that is larger than any of ours is refused, and nothing of it is kept.
func TestManifestThatIsTooLarge(t *testing.T) {
	const id = driver.SetID("ccn-20261121T020000.123Z")
	m := driver.Snapshot{Dataset: driver.Dataset{Kind: "fake", Name: "/a"}, Name: "/s/a", Set: id, Member: 1, Of: 1, GUID: "a"}
	store := snapset.Store{Dir: t.TempDir()}
	place := replicate.Place{Receivers: []driver.Receiver{&arrived{snaps: []driver.Snapshot{m}}}, Store: store}
	manifest := &snapset.Manifest{ID: id, App: "ccn", Label: strings.Repeat("x", 100_000), Members: []snapset.Member{{GUID: "a"}}}
	if err := place.Commit(t.Context(), manifest); err == nil {
		t.Error("it was taken")
	}
	if got, err := store.Read(id); got != nil || err != nil {
		t.Errorf("kept %+v, %v", got, err)
	}
	manifest.Label = strings.Repeat("x", 1000)
	if err := place.Commit(t.Context(), manifest); err != nil {
		t.Errorf("one of ours: %v", err)
	}
}
