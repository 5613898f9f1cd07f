package retention_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/retention"
)

func TestApplyOfNothing(t *testing.T) {
	for _, p := range []retention.Policy{{}, {Last: 1, Within: time.Hour}} {
		if got := p.Apply(nil, nil); len(got) != 0 {
			t.Errorf("%s of nothing gives %v", p, got)
		}
	}
}

func TestSameInstant(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	items := []retention.Item{{ID: "b", Time: at}, {ID: "c", Time: at.In(time.FixedZone("", 3600))}, {ID: "a", Time: at}}
	var got []string
	for _, v := range (retention.Policy{Last: 2, Daily: 1}).Apply(items, nil) {
		got = append(got, fmt.Sprint(v.Item.ID, v.Reasons))
	}
	if diff := cmp.Diff([]string{"c[last 1 daily 1]", "b[last 2]", "a[]"}, got); diff != "" {
		t.Error(diff)
	}
}

// A policy that no parser makes still loses nothing: below -1 is without end, and a negative span is no rule.
func TestStrangePolicies(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	items := []retention.Item{{ID: "a", Time: at}, {ID: "b", Time: at.AddDate(-3, 0, 0)}}
	for _, p := range []retention.Policy{{Daily: -7}, {Within: -time.Hour}} {
		for _, v := range p.Apply(items, time.UTC) {
			if !v.Keep {
				t.Errorf("%+v does not keep %s", p, v.Item.ID)
			}
		}
	}
}

func TestPinsAreReasonsOfTheirOwn(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	items := []retention.Item{
		{ID: "new", Time: at},
		{ID: "pinned", Time: at.AddDate(0, 0, -1), Pins: []string{"audit", "before upgrade"}},
		{ID: "old", Time: at.AddDate(0, 0, -2)},
	}
	got := retention.Policy{Daily: 2}.Apply(items, time.UTC)
	if diff := cmp.Diff([]string{"daily 2", "pinned: audit", "pinned: before upgrade"}, got[1].Reasons); diff != "" {
		t.Error(diff)
	}
	if got[2].Keep {
		t.Error("a pinned set does not fill its day")
	}
}

func hourlySets(n int) []retention.Item {
	newest := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	items := make([]retention.Item, n)
	for i := range items {
		items[i] = retention.Item{ID: fmt.Sprintf("set-%06d", n-i), Time: newest.Add(-time.Duration(i) * time.Hour)}
	}
	return items
}

func BenchmarkApply10000(b *testing.B) {
	loc := load(b, "Europe/Berlin")
	items := hourlySets(10_000)
	for _, keep := range []string{"last=2,hourly=24,daily=7,weekly=4,monthly=12,within=48h", "hourly=-1,daily=-1,weekly=-1,monthly=-1,yearly=-1"} {
		p, err := retention.ParseKeep(keep)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(keep, func(b *testing.B) {
			for b.Loop() {
				p.Apply(items, loc)
			}
		})
	}
}
