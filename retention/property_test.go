package retention_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones below, on hosts that have none

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/retention"
)

// Zones whose clocks change at 02:00 (Berlin), at midnight (Santiago), by half an hour (Lord Howe), by a day that never was
// (Apia, 30 December 2011); and one where midnight came twice (St. John's, 7 November 2010, set back at 00:01).
var (
	orderly   = []string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia"}
	zoneNames = append(slices.Clone(orderly), "America/St_Johns")
)

func load(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func drawZone(t *rapid.T) *time.Location {
	return load(t, rapid.SampledFrom(zoneNames).Draw(t, "zone"))
}

func drawPolicy(t *rapid.T) retention.Policy {
	count := rapid.OneOf(rapid.Just(0), rapid.IntRange(-1, 6))
	return retention.Policy{
		Last: count.Draw(t, "last"), Hourly: count.Draw(t, "hourly"), Daily: count.Draw(t, "daily"),
		Weekly: count.Draw(t, "weekly"), Monthly: count.Draw(t, "monthly"), Yearly: count.Draw(t, "yearly"),
		Within: time.Duration(rapid.IntRange(0, 96).Draw(t, "within")) * time.Hour,
	}
}

// drawItems makes sets that crowd around a day on which clocks change somewhere, and some years apart from them.
func drawItems(t *rapid.T, least int) []retention.Item {
	around := rapid.SampledFrom([]string{
		"2026-10-25T00:00:00Z", "2026-03-29T00:00:00Z", "2026-04-05T03:00:00Z", "2026-04-04T15:00:00Z",
		"2011-12-30T10:00:00Z", "2010-11-07T02:31:00Z", "2026-12-31T23:00:00Z", "2027-01-03T23:00:00Z",
	}).Draw(t, "around")
	base, err := time.Parse(time.RFC3339, around)
	if err != nil {
		t.Fatal(err)
	}
	spread := rapid.SampledFrom([]int{120, 60 * 48, 60 * 24 * 60, 60 * 24 * 1500}).Draw(t, "spread")
	minutes := rapid.SliceOfN(rapid.IntRange(-spread, spread), least, 40).Draw(t, "minutes")
	items := make([]retention.Item, len(minutes))
	for i, m := range minutes {
		items[i] = retention.Item{ID: fmt.Sprintf("set-%02d", i), Time: base.Add(time.Duration(m) * time.Minute)}
		if rapid.IntRange(0, 15).Draw(t, "pin") == 0 {
			items[i].Pins = []string{"before upgrade"}
		}
	}
	return items
}

func kept(verdicts []retention.Verdict) []retention.Item {
	var items []retention.Item
	for _, v := range verdicts {
		if v.Keep {
			items = append(items, v.Item)
		}
	}
	return items
}

func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items, loc := drawPolicy(t), drawItems(t, 0), drawZone(t)
		want := reference(p, items, loc)
		got := map[string][]string{}
		for _, v := range p.Apply(items, loc) {
			got[v.Item.ID] = v.Reasons
			if v.Keep != (len(v.Reasons) > 0) {
				t.Fatalf("keep is %t with reasons %q", v.Keep, v.Reasons)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-reference +got)\n%s", p, diff)
		}
	})
}

func TestNewestAndPinnedStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		verdicts := drawPolicy(t).Apply(drawItems(t, 1), drawZone(t))
		if !verdicts[0].Keep {
			t.Fatal("the newest is not kept")
		}
		for i, v := range verdicts {
			if len(v.Item.Pins) > 0 && !slices.Contains(v.Reasons, "pinned: before upgrade") {
				t.Fatalf("pinned %s has the reasons %q", v.Item.ID, v.Reasons)
			}
			if i > 0 && v.Item.Time.After(verdicts[i-1].Item.Time) {
				t.Fatal("not newest first")
			}
		}
	})
}

func TestOrderOfItemsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items, loc := drawPolicy(t), drawItems(t, 0), drawZone(t)
		before := slices.Clone(items)
		want := p.Apply(items, loc)
		if diff := cmp.Diff(before, items); diff != "" {
			t.Fatalf("Apply changed its argument:\n%s", diff)
		}
		if diff := cmp.Diff(want, p.Apply(rapid.Permutation(items).Draw(t, "permutation"), loc)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestKeptStayKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items, loc := drawPolicy(t), drawItems(t, 0), drawZone(t)
		once := kept(p.Apply(items, loc))
		if diff := cmp.Diff(once, kept(p.Apply(once, loc))); diff != "" {
			t.Fatalf("%s on what it kept (-first +second)\n%s", p, diff)
		}
	})
}

func TestMoreRulesKeepMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items, loc := drawPolicy(t), drawItems(t, 0), drawZone(t)
		if p == (retention.Policy{}) {
			return // keeps everything: a rule makes it keep less
		}
		larger := p
		more := func(n *int) {
			if d := rapid.IntRange(-1, 3).Draw(t, "more"); d < 0 {
				*n = -1
			} else if *n >= 0 {
				*n += d
			}
		}
		more(&larger.Last)
		more(&larger.Hourly)
		more(&larger.Daily)
		more(&larger.Weekly)
		more(&larger.Monthly)
		more(&larger.Yearly)
		larger.Within += time.Duration(rapid.IntRange(0, 48).Draw(t, "longer")) * time.Hour
		large := kept(larger.Apply(items, loc))
		for _, it := range kept(p.Apply(items, loc)) {
			if !slices.ContainsFunc(large, func(l retention.Item) bool { return l.ID == it.ID }) {
				t.Fatalf("%s keeps %s, %s does not", p, it.ID, larger)
			}
		}
	})
}

func TestCountsAreBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, items, loc := drawPolicy(t), drawItems(t, 0), drawZone(t)
		got := map[string]int{}
		for _, v := range p.Apply(items, loc) {
			for _, r := range v.Reasons {
				name, _, _ := strings.Cut(r, " ")
				got[name]++
			}
		}
		for name, limit := range map[string]int{
			"last": p.Last, "hourly": p.Hourly, "daily": p.Daily, "weekly": p.Weekly, "monthly": p.Monthly, "yearly": p.Yearly,
		} {
			if limit >= 0 && got[name] > limit {
				t.Fatalf("%s: %d sets kept as %s", p, got[name], name)
			}
		}
		if p.Last > 0 && got["last"] != min(p.Last, len(items)) {
			t.Fatalf("%s of %d sets: %d kept as last", p, len(items), got["last"])
		}
	})
}
