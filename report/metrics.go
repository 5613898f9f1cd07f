package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// metric is one family of the text format.
type metric struct {
	name, help string
	value      func(Run) (float64, bool)
}

var metrics = []metric{
	{"volsnap_last_run_success", "Whether the last run did all that it should (1) or not (0).", func(r Run) (float64, bool) {
		if r.OK {
			return 1, true
		}
		return 0, true
	}},
	{"volsnap_last_run_timestamp_seconds", "When the last run began.", func(r Run) (float64, bool) {
		return float64(r.Started.UnixMilli()) / 1000, true
	}},
	{"volsnap_last_run_duration_seconds", "How long the last run took.", func(r Run) (float64, bool) { return r.TookMS / 1000, true }},
	{"volsnap_newest_set_timestamp_seconds", "When the newest complete set was taken.", func(r Run) (float64, bool) {
		id, err := driver.ParseSetID(r.Newest)
		if err != nil {
			return 0, false
		}
		return float64(id.Time().UnixMilli()) / 1000, true
	}},
	{"volsnap_pause_seconds", "How long the last set's containers were paused, from the first pause to the last thaw.", func(r Run) (float64, bool) {
		return r.PauseMS / 1000, r.Set != ""
	}},
	{"volsnap_sets", "How many complete sets there are on this host.", func(r Run) (float64, bool) { return float64(r.Sets), true }},
	{"volsnap_removed_sets", "How many sets the last run pruned.", func(r Run) (float64, bool) { return float64(len(r.Removed)), true }},
}

// Metrics renders the last runs of apps in the text format of Prometheus, for node_exporter's textfile collector.
func Metrics(runs []Run) string {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b Run) int { return strings.Compare(a.App, b.App) })
	var b strings.Builder
	for _, m := range metrics {
		lines := ""
		for _, r := range runs {
			if v, ok := m.value(r); ok {
				lines += fmt.Sprintf("%s{app=%q} %s\n", m.name, r.App, strconv.FormatFloat(v, 'f', -1, 64))
			}
		}
		if lines != "" {
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n%s", m.name, m.help, m.name, lines)
		}
	}
	return b.String()
}

// WriteMetrics replaces the metrics file, readable by everyone.
func WriteMetrics(path string, runs []Run) error {
	return state.WriteFile(path, []byte(Metrics(runs)), 0o644)
}
