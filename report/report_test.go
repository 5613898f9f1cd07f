package report_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/report"
)

func TestMetrics(t *testing.T) {
	runs := []report.Run{
		{
			App: "web", OK: false, Started: time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC), TookMS: 250, Error: "no", Sets: 2,
			Newest: "web-20261120T030000.500Z",
		},
		{
			App: "ccn", OK: true, Set: "ccn-20261121T020000.123Z", Started: time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC),
			TookMS: 1500, PauseMS: 41.5, Sets: 7, Newest: "ccn-20261121T020000.123Z", Removed: []string{"ccn-20261101T020000.000Z"},
		},
	}
	drills := []report.Drill{
		{App: "web", Started: time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC), Checks: []report.DrillCheck{{Name: "set"}}},
		{App: "ccn", OK: true, ReadyMS: 1250, Started: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)},
	}
	want := `# HELP volsnap_last_run_success Whether the last run did all that it should (1) or not (0).
# TYPE volsnap_last_run_success gauge
volsnap_last_run_success{app="ccn"} 1
volsnap_last_run_success{app="web"} 0
# HELP volsnap_last_run_timestamp_seconds When the last run began.
# TYPE volsnap_last_run_timestamp_seconds gauge
volsnap_last_run_timestamp_seconds{app="ccn"} 1795226400
volsnap_last_run_timestamp_seconds{app="web"} 1795230000
# HELP volsnap_last_run_duration_seconds How long the last run took.
# TYPE volsnap_last_run_duration_seconds gauge
volsnap_last_run_duration_seconds{app="ccn"} 1.5
volsnap_last_run_duration_seconds{app="web"} 0.25
# HELP volsnap_newest_set_timestamp_seconds When the newest complete set was taken.
# TYPE volsnap_newest_set_timestamp_seconds gauge
volsnap_newest_set_timestamp_seconds{app="ccn"} 1795226400.123
volsnap_newest_set_timestamp_seconds{app="web"} 1795143600.5
# HELP volsnap_pause_seconds How long the last set's containers were paused, from the first pause to the last thaw.
# TYPE volsnap_pause_seconds gauge
volsnap_pause_seconds{app="ccn"} 0.0415
# HELP volsnap_sets How many complete sets there are on this host.
# TYPE volsnap_sets gauge
volsnap_sets{app="ccn"} 7
volsnap_sets{app="web"} 2
# HELP volsnap_removed_sets How many sets the last run pruned.
# TYPE volsnap_removed_sets gauge
volsnap_removed_sets{app="ccn"} 1
volsnap_removed_sets{app="web"} 0
# HELP volsnap_drill_ok Whether the last drill passed (1) or not (0).
# TYPE volsnap_drill_ok gauge
volsnap_drill_ok{app="ccn"} 1
volsnap_drill_ok{app="web"} 0
# HELP volsnap_drill_timestamp_seconds When the last drill began.
# TYPE volsnap_drill_timestamp_seconds gauge
volsnap_drill_timestamp_seconds{app="ccn"} 1795327200
volsnap_drill_timestamp_seconds{app="web"} 1795323600
# HELP volsnap_drill_ready_seconds How long the last drill took until PostgreSQL accepted connections.
# TYPE volsnap_drill_ready_seconds gauge
volsnap_drill_ready_seconds{app="ccn"} 1.25
`
	if diff := cmp.Diff(want, report.Metrics(runs, drills)); diff != "" {
		t.Fatalf("metrics (-want +got):\n%s", diff)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	if r, err := report.Load(dir, "ccn"); r != nil || err != nil {
		t.Fatalf("before the first run: %v, %v", r, err)
	}
	want := report.Run{App: "ccn", OK: true, Set: "ccn-20261121T020000.123Z", Started: time.Now().UTC().Round(0), Removed: []string{"x"}}
	if err := report.Save(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := report.Load(dir, "ccn")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for _, damaged := range []string{"", "{", "[]", `{"app":"other"}`, `{"app":7}`} {
		if err := os.WriteFile(filepath.Join(dir, "last-run", "ccn.json"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := report.Load(dir, "ccn"); r != nil || err != nil {
			t.Errorf("damaged %q: %v, %v", damaged, r, err)
		}
	}
}

func TestSaveAndLoadDrill(t *testing.T) {
	dir := t.TempDir()
	if d, err := report.LoadDrill(dir, "ccn"); d != nil || err != nil {
		t.Fatalf("before the first drill: %v, %v", d, err)
	}
	want := report.Drill{
		App: "ccn", Set: "ccn-20261121T020000.123Z", From: "disk", Started: time.Now().UTC().Round(0),
		Checks: []report.DrillCheck{{Name: "set", OK: true}, {Name: "wal", Detail: "a gap"}},
	}
	if err := report.SaveDrill(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := report.LoadDrill(dir, "ccn")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"wal"}, got.Failed()); diff != "" {
		t.Error(diff)
	}
	for _, damaged := range []string{"", "{", `{"app":"other"}`} {
		if err := os.WriteFile(filepath.Join(dir, "last-drill", "ccn.json"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := report.LoadDrill(dir, "ccn"); d != nil || err != nil {
			t.Errorf("damaged %q: %v, %v", damaged, d, err)
		}
	}
}
