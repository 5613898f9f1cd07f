package retention_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/retention"
)

// walk takes one set after the other, pruning after each as a host would, until the item is gone.
func walk(p retention.Policy, items []retention.Item, id string, every time.Duration, steps int, loc *time.Location) (time.Time, bool) {
	newest := newestOf(items)
	for k := 0; k <= steps; k++ {
		at := newest.Add(time.Duration(k) * every)
		if k > 0 {
			items = append(items, retention.Item{ID: fmt.Sprintf("z%05d", k), Time: at})
		}
		items = kept(p.Apply(items, loc))
		found := false
		for _, it := range items {
			found = found || it.ID == id
		}
		if !found {
			return at, true
		}
	}
	return time.Time{}, false
}

func TestExpiryAgainstWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items := drawPolicy(t), drawItems(t, 1)
		loc := load(t, rapid.SampledFrom(orderly).Draw(t, "zone"))
		every := rapid.SampledFrom([]time.Duration{20 * time.Minute, time.Hour, 7 * time.Hour, 24 * time.Hour, 40 * 24 * time.Hour}).Draw(t, "every")
		id := rapid.SampledFrom(items).Draw(t, "item").ID
		at, ok := p.Expiry(items, id, every, loc)
		const steps = 300
		want, goes := walk(p, items, id, every, steps, loc)
		seen := newestOf(items).Add(steps * every)
		switch {
		case goes && want.Before(newestOf(items).AddDate(12, 0, 0)) && (!ok || !at.Equal(want)):
			t.Fatalf("%s every %s: %s goes at %s, Expiry says %s, %t", p, every, id, want, at, ok)
		case !goes && ok && !at.After(seen):
			t.Fatalf("%s every %s: %s is still there at %s, Expiry says %s", p, every, id, seen, at)
		}
	})
}

func TestExpiry(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 2, 0, 0, 0, time.UTC) }
	items := []retention.Item{
		{ID: "21", Time: day(21)},
		{ID: "20", Time: day(20)},
		{ID: "19", Time: day(19)},
		{ID: "18", Time: day(18), Pins: []string{"audit"}},
		{ID: "15", Time: day(15)},
	}
	for _, c := range []struct {
		name, keep, id string
		every          time.Duration
		want           time.Time // zero: no date
	}{
		{"counts one a day", "daily=3", "21", 24 * time.Hour, day(24)},
		{"as its bucket ages", "daily=3", "19", 24 * time.Hour, day(22)},
		{"the last rule that holds it", "daily=3,weekly=3", "15", 24 * time.Hour, day(30)},
		{"superseded within its day", "daily=3", "21", time.Hour, day(21).Add(time.Hour)},
		{"superseded in a rule without end", "yearly=-1", "21", time.Hour, day(21).Add(time.Hour)},
		{"not kept now", "last=1", "20", time.Hour, day(21)},
		{"within", "within=48h", "20", time.Hour, day(22)},
		{"pinned", "last=1", "18", time.Hour, time.Time{}},
		{"without end", "daily=-1", "20", 24 * time.Hour, time.Time{}},
		{"last without end", "last=-1", "15", time.Hour, time.Time{}},
		{"no rule", "all", "20", time.Hour, time.Time{}},
		{"beyond 12 years", "last=100000", "21", 24 * time.Hour, time.Time{}},
		{"unknown", "last=1", "x", time.Hour, time.Time{}},
		{"never again", "last=1", "21", 0, time.Time{}},
		{"a step beyond all bounds", "last=1", "21", 1<<63 - 1, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := retention.ParseKeep(c.keep)
			if err != nil {
				t.Fatal(err)
			}
			at, ok := p.Expiry(items, c.id, c.every, time.UTC)
			if ok == c.want.IsZero() || !at.Equal(c.want) {
				t.Errorf("Expiry = %s, %t, want %s", at, ok, c.want)
			}
		})
	}
}

func BenchmarkExpiry1000(b *testing.B) {
	loc := load(b, "Europe/Berlin")
	items := hourlySets(1000)
	p := retention.Policy{Last: 2, Hourly: 100_000, Daily: 3650, Weekly: 400, Monthly: 120, Yearly: 11, Within: 48 * time.Hour}
	for _, every := range []time.Duration{time.Second, 15 * time.Minute, 24 * time.Hour} {
		b.Run(every.String(), func(b *testing.B) {
			for b.Loop() {
				p.Expiry(items, items[50].ID, every, loc)
			}
		})
	}
}
