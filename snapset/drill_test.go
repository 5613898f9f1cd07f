package snapset_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// The newest few verdicts are kept, nothing else of the manifest changes, and no manifest is made for one.
func TestAddDrill(t *testing.T) {
	store := snapset.Store{Dir: t.TempDir()}
	const id = driver.SetID("ccn-20261121T020000.123Z")
	if known, err := store.AddDrill(id, snapset.Drill{}); known || err != nil {
		t.Fatalf("without a manifest: %t, %v", known, err)
	}
	m := &snapset.Manifest{ID: id, App: "ccn", Label: "before", Members: []snapset.Member{{Volume: "pg", GUID: "g"}}}
	if err := store.Write(m); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		d := snapset.Drill{Time: time.Unix(int64(i), 0).UTC(), OK: i%2 == 0, From: fmt.Sprint(i), ReadyMS: 1.5, Failed: []string{"wal"}}
		if known, err := store.AddDrill(id, d); !known || err != nil {
			t.Fatalf("%t, %v", known, err)
		}
		m.Drills = append(m.Drills, d)
	}
	m.Drills = m.Drills[2:]
	got, err := store.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	sets := snapset.Assemble([]driver.Snapshot{{Set: id, Member: 1, Of: 1, Sealed: true, GUID: "g", Volumes: []driver.Volume{{Name: "pg"}}}}, store.ReadAll([]driver.SetID{id}))
	if diff := cmp.Diff(m.Drills, sets[0].Manifest.Drills); diff != "" {
		t.Errorf("assembled (-want +got)\n%s", diff)
	}
	if err := store.Remove(id); err != nil {
		t.Fatal(err)
	}
	if known, err := store.AddDrill(id, snapset.Drill{}); known || err != nil {
		t.Fatalf("of a set that is gone: %t, %v", known, err)
	}
}
