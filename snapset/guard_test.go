package snapset_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// What a set was taken before is in its manifest alone, and stays there through the file and through what the snapshots know better.
func TestGuardIsKept(t *testing.T) {
	snaps := []driver.Snapshot{member(1, 1)}
	want := &snapset.Guard{
		Command: []string{"docker", "compose", "up", "", "a b"}, Alembic: "8a5b,9c", Expires: time.Date(2026, 12, 5, 0, 0, 0, 1, time.UTC),
		Images: []snapset.Image{{Container: "pg", Image: "postgres:15.1", ID: "sha256:00", Digests: []string{"postgres@sha256:11"}}},
	}
	m := *snapset.Assemble(snaps, nil)[0].Manifest
	if m.Guard != nil {
		t.Errorf("without a manifest: %+v", m.Guard)
	}
	m.Guard = want
	store := snapset.Store{Dir: t.TempDir()}
	if err := store.Write(&m); err != nil {
		t.Fatal(err)
	}
	read, err := store.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	s := snapset.Assemble(snaps, map[driver.SetID]*snapset.Manifest{id: read})[0]
	if diff := cmp.Diff(want, s.Manifest.Guard); diff != "" || !s.Complete {
		t.Errorf("complete %t (-want +got)\n%s", s.Complete, diff)
	}
}
