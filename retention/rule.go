package retention

import (
	"slices"
	"time"
)

// rule keeps the newest item of each of n periods. Items are shown to take newest first.
type rule struct {
	name  string
	n     int                 // less than 0: without end
	key   func(time.Time) int // numbers the periods, later ones higher; nil: each item is a period of its own
	loc   *time.Location
	keys  []int // of the periods so far, newest first
	least int   // of keys
}

func (p Policy) rules(loc *time.Location) []rule {
	var rules []rule
	for _, r := range []rule{
		{name: "last", n: p.Last},
		{name: "hourly", n: p.Hourly, key: hour},
		{name: "daily", n: p.Daily, key: day},
		{name: "weekly", n: p.Weekly, key: week},
		{name: "monthly", n: p.Monthly, key: month},
		{name: "yearly", n: p.Yearly, key: time.Time.Year},
	} {
		if r.n != 0 {
			r.loc = loc
			rules = append(rules, r)
		}
	}
	return rules
}

// take reports whether the rule keeps an item of time t, and in which period, counted from the newest.
func (r *rule) take(t time.Time) (nth int, ok bool) {
	if r.n > 0 && len(r.keys) >= r.n {
		return 0, false
	}
	key := len(r.keys)
	if r.key != nil {
		key = r.key(t.In(r.loc))
		if r.met(key) {
			return 0, false
		}
	}
	r.keys = append(r.keys, key)
	return len(r.keys), true
}

// met reports whether the period was seen. Going back in time a key is nearly always less than all before, or that of the
// last item; but where clocks were set back over midnight (St. John's did so at 00:01) a day is left and met again.
func (r *rule) met(key int) bool {
	n := len(r.keys)
	switch {
	case n == 0 || key < r.least:
		r.least = key
		return false
	case key == r.keys[n-1]:
		return true
	}
	return slices.Contains(r.keys, key)
}

func hour(t time.Time) int { return day(t)*100 + t.Hour() }

func day(t time.Time) int {
	y, m, d := t.Date()
	return (y*100+int(m))*100 + d
}

func week(t time.Time) int {
	y, w := t.ISOWeek()
	return y*100 + w
}

func month(t time.Time) int {
	y, m, _ := t.Date()
	return y*100 + int(m)
}
