package retention_test

import (
	"fmt"
	"sort"
	"time"

	"github.com/volsnap/volsnap/retention"
)

// reference answers by the words of the contract alone, set by set and slowly: a set is kept by "daily n" when no newer
// set has its day's label and fewer than n labels occur among newer sets. It shares no code with the package.
func reference(p retention.Policy, items []retention.Item, loc *time.Location) map[string][]string {
	newer := func(a, b retention.Item) bool {
		return a.Time.After(b.Time) || a.Time.Equal(b.Time) && a.ID > b.ID
	}
	rules := []struct {
		name  string
		count int
		label func(retention.Item) string
	}{
		{"last", p.Last, func(i retention.Item) string { return i.ID }},
		{"hourly", p.Hourly, func(i retention.Item) string { return i.Time.In(loc).Format("2006-01-02 15h") }},
		{"daily", p.Daily, func(i retention.Item) string { return i.Time.In(loc).Format("2006-01-02") }},
		{"weekly", p.Weekly, func(i retention.Item) string {
			monday := i.Time.In(loc)
			return monday.AddDate(0, 0, -(int(monday.Weekday())+6)%7).Format("2006-01-02")
		}},
		{"monthly", p.Monthly, func(i retention.Item) string { return i.Time.In(loc).Format("2006-01") }},
		{"yearly", p.Yearly, func(i retention.Item) string { return i.Time.In(loc).Format("2006") }},
	}
	reasons := map[string][]string{}
	for _, it := range items {
		var why []string
		if p == (retention.Policy{}) {
			why = append(why, "no rule: everything is kept")
		}
		for _, r := range rules {
			labels := map[string]bool{}
			for _, other := range items {
				if newer(other, it) {
					labels[r.label(other)] = true
				}
			}
			if r.count != 0 && !labels[r.label(it)] && (r.count == -1 || len(labels) < r.count) {
				why = append(why, fmt.Sprintf("%s %d", r.name, len(labels)+1))
			}
		}
		if p.Within > 0 && newestOf(items).Sub(it.Time) < p.Within {
			why = append(why, "within "+retention.FormatDuration(p.Within))
		}
		for _, pin := range it.Pins {
			why = append(why, "pinned: "+pin)
		}
		reasons[it.ID] = why
	}
	return reasons
}

func newestOf(items []retention.Item) time.Time {
	times := make([]time.Time, len(items))
	for i, it := range items {
		times[i] = it.Time
	}
	sort.Slice(times, func(i, j int) bool { return times[i].After(times[j]) })
	return times[0]
}
