package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/inventory"
)

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	if j, err := Read(dir, "app"); j != nil || err != nil {
		t.Errorf("none: %+v, %v", j, err)
	}
	want := &Journal{
		Version: journalVersion, App: "app", Set: "app-20261121T020000.123Z", Begun: time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC),
		Phase: Placing, Undo: "app-20261121T030000.123Z", Fetched: true, Asked: []string{"a b"},
		Containers: []Container{{
			ID: "1", Name: "pg", Level: 1, Restart: docker.RestartPolicy{Name: "on-failure", Tries: 3}, Timeout: 5, Idle: true,
			Database: &inventory.Postgres{User: "u", Database: "d"},
		}},
		Items: []Item{{
			Method: Copy, Volumes: []string{"/a"}, Paths: []string{"/b"}, Dataset: driver.Dataset{Kind: "btrfs", Name: "/c"},
			Inside: "x", Aside: "/d", New: "1:2", Old: "3:4", Name: "n", Stage: driver.Dataset{Kind: "btrfs", Name: "/e"},
			Snapshot: driver.Snapshot{Name: "/s", GUID: "g", Volumes: []driver.Volume{{Name: "/a", Path: "x"}}},
		}},
		path: PathOf(dir, "app"),
	}
	if err := want.write(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir, "app")
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Journal{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if j, err := Read(dir, "other"); j != nil || err != nil {
		t.Errorf("of another app: %+v, %v", j, err)
	}
	if err := got.remove(); err != nil {
		t.Fatal(err)
	}
	if j, err := Read(dir, "app"); j != nil || err != nil {
		t.Errorf("removed: %+v, %v", j, err)
	}
}

// A journal that is not understood is not taken for none, or for another one.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	path := PathOf(dir, "app")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":         "",
		"cut off":       `{"version": 1, "app": "app", "phase": "pla`,
		"newer":         `{"version": 2, "app": "app", "phase": "placing"}`,
		"another app's": `{"version": 1, "app": "other", "phase": "placing"}`,
		"another phase": `{"version": 1, "app": "app", "phase": "done"}`,
		"no object":     `[]`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := Read(dir, "app"); !errors.Is(err, ErrDamaged) || j != nil {
			t.Errorf("%s: %+v, %v, want ErrDamaged", name, j, err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, "app"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a directory: %v, want ErrDamaged", err)
	}
}

func TestLevels(t *testing.T) {
	if got := levels(nil); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	var names [][]string
	for _, some := range levels([]Container{{Name: "c", Level: 2}, {Name: "a"}, {Name: "d", Level: 7}, {Name: "b"}}) {
		var one []string
		for _, c := range some {
			one = append(one, c.Name)
		}
		names = append(names, one)
	}
	if diff := cmp.Diff([][]string{{"a", "b"}, {"c"}, {"d"}}, names); diff != "" {
		t.Error(diff)
	}
}

// stagesOnly is a storage of stages by name.
type stagesOnly struct {
	Storage
	there map[string]string
	fail  error
}

func (s stagesOnly) Identity(_ context.Context, ds driver.Dataset) (string, error) {
	if guid, ok := s.there[ds.Name]; ok {
		return guid, nil
	}
	return "", driver.ErrNotFound
}

func (s stagesOnly) Discard(_ context.Context, st driver.Stage, _ *driver.Snapshot) error {
	if s.fail == nil && s.there[st.Dataset.Name] == st.GUID {
		delete(s.there, st.Dataset.Name)
	}
	return s.fail
}

func TestStages(t *testing.T) {
	dir := t.TempDir()
	s := StagesOf(dir, "app")
	by := stagesOnly{there: map[string]string{"a": "1", "b": "2", "mine": "3"}, fail: errors.New("boom")}
	if err := s.Remove(t.Context(), nil); err != nil {
		t.Errorf("none is noted: %v", err)
	}
	if err := s.note([]driver.Dataset{{Kind: "x", Name: "a"}, {Kind: "x", Name: "gone"}, {Kind: "x", Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), map[string]Storage{}); err == nil {
		t.Error("removed without a driver")
	}
	if err := s.Remove(t.Context(), map[string]Storage{"x": by}); !errors.Is(err, by.fail) {
		t.Errorf("%v, want %v", err, by.fail)
	}
	by.fail = nil
	for range 2 { // the note stays until all are gone
		if err := s.Remove(t.Context(), map[string]Storage{"x": by}); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"mine": "3"}, by.there); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(s.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), map[string]Storage{"x": by}); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}
