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
type metric[of any] struct {
	name, help string
	value      func(of) (float64, bool)
}

var metrics = []metric[Run]{
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

var drillMetrics = []metric[Drill]{
	{"volsnap_drill_ok", "Whether the last drill passed (1) or not (0).", func(d Drill) (float64, bool) {
		if d.OK {
			return 1, true
		}
		return 0, true
	}},
	{"volsnap_drill_timestamp_seconds", "When the last drill began.", func(d Drill) (float64, bool) {
		return float64(d.Started.UnixMilli()) / 1000, true
	}},
	{"volsnap_drill_ready_seconds", "How long the last drill took until PostgreSQL accepted connections.", func(d Drill) (float64, bool) {
		return d.ReadyMS / 1000, d.ReadyMS > 0
	}},
}

// Metrics renders the last runs and drills of apps in the text format of Prometheus, for node_exporter's textfile collector.
func Metrics(runs []Run, drills []Drill) string {
	var b strings.Builder
	render(&b, metrics, runs, func(r Run) string { return r.App })
	render(&b, drillMetrics, drills, func(d Drill) string { return d.App })
	return b.String()
}

func render[of any](b *strings.Builder, metrics []metric[of], all []of, app func(of) string) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y of) int { return strings.Compare(app(x), app(y)) })
	for _, m := range metrics {
		lines := ""
		for _, one := range all {
			if v, ok := m.value(one); ok {
				lines += fmt.Sprintf("%s{app=%q} %s\n", m.name, app(one), strconv.FormatFloat(v, 'f', -1, 64))
			}
		}
		if lines != "" {
			fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n%s", m.name, m.help, m.name, lines)
		}
	}
}

// WriteMetrics replaces the metrics file, readable by everyone.
func WriteMetrics(path string, runs []Run, drills []Drill) error {
	return state.WriteFile(path, []byte(Metrics(runs, drills)), 0o644)
}
