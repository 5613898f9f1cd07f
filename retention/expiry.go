package retention

import (
	"sort"
	"time"
)

// horizon is how far Expiry looks ahead. Beyond it a date would be a guess about calendars.
const horizon = 12 * 366 * 24 * time.Hour

// Expiry tells when the item would go if a set were taken each time that "every" has passed since the newest: the time of
// the first such set after which Apply would not keep the item. It is the newest item's time if Apply does not keep it
// now. ok is false when there is no such time within 12 years, when the item has a pin or a rule without end keeps it,
// when there is no rule or no such item, and when every is not positive.
func (p Policy) Expiry(items []Item, id string, every time.Duration, loc *time.Location) (at time.Time, ok bool) {
	sorted := newestFirst(items)
	pos := position(sorted, id)
	if pos < 0 || every <= 0 || p.empty() || len(sorted[pos].Pins) > 0 {
		return time.Time{}, false
	}
	f := future{newest: sorted[0].Time, every: every, end: int(horizon / every)}
	steps := 0
	for _, r := range p.rules(zone(loc)) {
		steps = max(steps, f.lapse(r, sorted[:pos+1]))
	}
	if p.Within > 0 {
		steps = max(steps, f.leave(p.Within, sorted[pos].Time))
	}
	if steps > f.end {
		return time.Time{}, false
	}
	return f.at(steps).In(zone(loc)), true
}

func position(items []Item, id string) int {
	for i, it := range items {
		if it.ID == id {
			return i
		}
	}
	return -1
}

// future is the sets to come: one at newest + k*every for k from 1 to end.
type future struct {
	newest time.Time
	every  time.Duration
	end    int
}

func (f future) at(k int) time.Time { return f.newest.Add(time.Duration(k) * f.every) }

// lapse is the k of the first set after which the rule no longer keeps the last of items (newest first): 0 when it does
// not keep it now, more than end when that set lies beyond the end.
//
// Whether a rule keeps an item depends only on the periods of newer items, and what a rule drops it never takes back. So
// each rule can be followed by itself, and from period to period instead of from set to set.
func (f future) lapse(r rule, items []Item) int {
	limit := r.n
	r.n = -1
	nth, kept := 0, false
	for _, it := range items {
		nth, kept = r.take(it.Time)
	}
	if !kept || limit > 0 && nth > limit {
		return 0
	}
	if r.key == nil && limit > 0 {
		return limit - nth + 1
	}
	if r.key == nil {
		return f.end + 1
	}
	period := r.key(f.newest.In(r.loc))
	if nth == 1 && f.end >= 1 && r.key(f.at(1).In(r.loc)) <= period {
		return 1 // the next set falls in the same period and is newer
	}
	if limit < 0 {
		return f.end + 1
	}
	k := 0
	for ; nth <= limit && k <= f.end; nth++ {
		k = f.next(r, k, period)
		period = r.key(f.at(k).In(r.loc))
	}
	return k
}

// next is the k of the first set after set k that lies in a later period; end+1 if none does. It relies on periods coming
// in order, which fails only where clocks are set back over midnight, as no zone does any more.
func (f future) next(r rule, k, period int) int {
	later := func(k int) bool { return k > f.end || r.key(f.at(k).In(r.loc)) > period }
	stride := 1
	for !later(k + stride) {
		k += stride
		stride *= 2
	}
	return k + 1 + sort.Search(stride-1, func(i int) bool { return later(k + 1 + i) })
}

// leave is the k of the first set that is newer than t by the span or more.
func (f future) leave(span time.Duration, t time.Time) int {
	left := span - f.newest.Sub(t)
	if left <= 0 {
		return 0
	}
	return int((left-1)/f.every) + 1
}
