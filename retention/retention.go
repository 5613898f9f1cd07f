// Package retention decides which sets of one app stay, and says why. It is pure: it reads no clock and touches no
// storage, and equal arguments give equal answers, in whatever order the sets are named.
//
// # What it promises
//
//   - Each of last, hourly, daily, weekly, monthly and yearly keeps the newest set in each of the last so many periods
//     that hold a set; a period without a set costs nothing. within keeps what is younger than the newest set by less
//     than that long. The rules add up, as in restic's forget.
//   - "Now" is the newest set. A clock that is wrong, or a host that slept for a year, removes nothing.
//   - The newest set is kept, always: each rule keeps it, and where there is no rule everything is kept.
//   - A set with a pin is kept. It fills its periods as any other set does.
//   - Every set that is kept carries every reason for it, and a set without a reason is not kept.
//   - What a policy keeps, it keeps again when it is asked about the kept sets alone.
//
// # Periods
//
// Periods are those of the calendar in the zone that the caller names; weeks are ISO weeks and begin on Monday. The hour
// that is repeated when summer time ends is one hour of the calendar, two hours long, and has one newest set; a day has
// 23, 24 or 25 hours. This is how restic counts too. Unlike restic today, the oldest set is not kept merely because
// a rule has counts left over.
//
// See Policy.Apply for the verdicts, Policy.Expiry for when a set will go, and ParseKeep for a policy as text.
package retention

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Policy says how many sets to keep. A count of 0 means that there is no such rule, -1 (or less) that it has no end. The
// zero Policy keeps everything.
type Policy struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	Within                                       time.Duration // counted back from the newest set; 0 or less: no such rule
}

// Item is a set as retention sees it. IDs are unique among the items of one call.
type Item struct {
	ID   string
	Time time.Time
	Pins []string // reasons given by hand; one is enough to keep the set
	Uses []string // what else keeps it, in words
}

// Verdict is what becomes of an item. Reasons is empty exactly when Keep is false.
type Verdict struct {
	Item    Item
	Keep    bool
	Reasons []string // "last 1", "daily 3" (the third day that holds a set, the newest being 1), "within 48h", "pinned: ..."
}

const noRule = "no rule: everything is kept"

// Apply judges every item and returns the verdicts newest first; of two items of the same instant the one with the
// greater ID counts as the newer. A nil loc is UTC. The items are not changed.
func (p Policy) Apply(items []Item, loc *time.Location) []Verdict {
	sorted := newestFirst(items)
	verdicts := make([]Verdict, len(sorted))
	rules := p.rules(zone(loc))
	for i, it := range sorted {
		var reasons []string
		if p.empty() {
			reasons = append(reasons, noRule)
		}
		for k := range rules {
			if nth, ok := rules[k].take(it.Time); ok {
				reasons = append(reasons, rules[k].name+" "+strconv.Itoa(nth))
			}
		}
		if p.Within > 0 && it.Time.After(sorted[0].Time.Add(-p.Within)) {
			reasons = append(reasons, "within "+FormatDuration(p.Within))
		}
		for _, pin := range it.Pins {
			reasons = append(reasons, "pinned: "+pin)
		}
		reasons = append(reasons, it.Uses...)
		verdicts[i] = Verdict{Item: it, Keep: len(reasons) > 0, Reasons: reasons}
	}
	return verdicts
}

func (p Policy) empty() bool {
	return p.Last == 0 && p.Hourly == 0 && p.Daily == 0 && p.Weekly == 0 && p.Monthly == 0 && p.Yearly == 0 && p.Within <= 0
}

func newestFirst(items []Item) []Item {
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b Item) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return sorted
}

func zone(loc *time.Location) *time.Location {
	if loc == nil {
		return time.UTC
	}
	return loc
}
