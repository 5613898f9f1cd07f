package replicate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
)

// history makes sets of one app by hand: each line is a set, each letter a dataset that is a member of it.
func history(lines ...string) []snapset.Set {
	var snaps []driver.Snapshot
	for i, line := range lines {
		id, err := driver.NewSetID("app", time.Date(2026, 11, 21, 2, i, 0, 0, time.UTC))
		if err != nil {
			panic(err) // a test of ours that is wrong
		}
		for k, letter := range line {
			snaps = append(snaps, driver.Snapshot{
				Dataset: driver.Dataset{Kind: "fake", Name: string(letter)}, Name: fmt.Sprintf("%c%d", letter, i), Set: id,
				Member: k + 1, Of: len(line), GUID: fmt.Sprintf("%c%d", letter, i), Order: uint64(i + 1), Sealed: true, Consistency: "frozen",
			})
		}
	}
	return snapset.Assemble(snaps, nil)
}

// there is what a target has: committed, and only received.
func there(committed []string, received ...string) replicate.Listing {
	var l replicate.Listing
	for _, guid := range committed {
		l.Snapshots = append(l.Snapshots, driver.Snapshot{GUID: guid, Sealed: true})
	}
	for _, guid := range received {
		l.Snapshots = append(l.Snapshots, driver.Snapshot{GUID: guid})
	}
	return l
}

// told is a plan in words: "minute: base>snapshot ...".
func told(transfers []replicate.Transfer) []string {
	out := []string{}
	for _, t := range transfers {
		line := t.Set.ID.Time().Format("4:")
		for _, s := range t.Steps {
			base := ""
			if s.Base != nil {
				base = s.Base.GUID
			}
			line += " " + base + ">" + s.Snapshot.GUID + s.Resume
		}
		out = append(out, line)
	}
	return out
}

// taken gives sets the storage's order that they were made in, whatever their times say.
func taken(sets []snapset.Set, orders ...uint64) []snapset.Set {
	for i := range sets {
		for k := range sets[i].Snapshots {
			sets[i].Snapshots[k].Order = orders[i]
		}
	}
	return sets
}

func TestSteps(t *testing.T) {
	damaged := func(sets []snapset.Set, i int) []snapset.Set { sets[i].Complete = false; return sets }
	tests := []struct {
		name string
		src  []snapset.Set
		dst  replicate.Listing
		skip bool
		want []string
	}{
		{name: "nothing anywhere", want: []string{}},
		{name: "the first time", src: history("ab", "ab"), want: []string{"0: >a0 >b0", "1: a0>a1 b0>b1"}},
		{name: "the first time, the newest alone", src: history("ab", "ab"), skip: true, want: []string{"1: >a1 >b1"}},
		{name: "up to date", src: history("ab", "ab"), dst: there([]string{"a1", "b1"}), want: []string{}},
		{name: "one behind", src: history("ab", "ab"), dst: there([]string{"a0", "b0"}), want: []string{"1: a0>a1 b0>b1"}},
		{name: "missed ones", src: history("a", "a", "a"), dst: there([]string{"a0"}), want: []string{"1: a0>a1", "2: a1>a2"}},
		{name: "missed ones are skipped", src: history("a", "a", "a"), dst: there([]string{"a0"}), skip: true, want: []string{"2: a0>a2"}},
		{name: "what the target let go is not sent again", src: history("a", "a", "a"), dst: there([]string{"a2"}), want: []string{}},
		{name: "half of a set arrived", src: history("ab", "ab"), dst: there([]string{"a0", "b0"}, "a1"), want: []string{"1: b0>b1"}},
		{name: "all arrived, and it was not committed", src: history("ab"), dst: there(nil, "a0", "b0"), want: []string{"0:"}},
		{
			name: "a set of a clock that was ahead, and those after it", src: taken(history("ab", "ab", "ab"), 2, 3, 1), dst: there([]string{"a2", "b2"}),
			want: []string{"0: a2>a0 b2>b0", "1: a0>a1 b0>b1"},
		},
		{name: "a new dataset", src: history("a", "ab"), dst: there([]string{"a0"}), want: []string{"1: a0>a1 >b1"}},
		{name: "one that was away for a while", src: history("ab", "a", "ab"), dst: there([]string{"a0", "b0", "a1"}), want: []string{"2: a1>a2 b0>b2"}},
		{name: "a damaged set is not sent, nor a base", src: damaged(history("a", "a", "a"), 1), dst: there([]string{"a0"}), want: []string{"2: a0>a2"}},
		{name: "nothing in common", src: history("a", "a"), dst: there([]string{"x0", "x1"}), want: []string{"0: >a0", "1: a0>a1"}},
		{
			name: "a replica that is damaged is no base", src: history("a", "a"),
			dst:  replicate.Listing{Snapshots: []driver.Snapshot{{GUID: "a0", Sealed: true, Fault: "is writable"}}},
			want: []string{"0: >a0", "1: a0>a1"},
		},
		{
			name: "a broken stream goes on", src: history("a", "a"),
			dst: replicate.Listing{
				Snapshots: []driver.Snapshot{{GUID: "a0", Sealed: true}},
				Partials:  []driver.Partial{{GUID: "a1", Base: "other", Token: "!"}, {GUID: "a1", Base: "a0", Token: "?"}},
			},
			want: []string{"1: a0>a1?"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := told(replicate.Steps(tt.src, tt.dst, replicate.Order{SkipIntermediate: tt.skip}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever both sides have: carrying out the plan brings the target up to date, no stream builds on what is not there by then
// or on what is newer, nothing is sent twice, and afterwards there is nothing left to do.
func TestStepsLeadThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "abc", "bc"}), 0, 8).Draw(t, "sets")
		src := history(lines...)
		var guids []string
		for i := range src {
			src[i].Complete = rapid.Bool().Draw(t, "complete")
			for _, m := range src[i].Snapshots {
				guids = append(guids, m.GUID)
			}
		}
		var dst replicate.Listing
		for _, guid := range guids {
			switch rapid.IntRange(0, 3).Draw(t, guid) {
			case 0:
				dst.Snapshots = append(dst.Snapshots, driver.Snapshot{GUID: guid, Sealed: true})
			case 1:
				dst.Snapshots = append(dst.Snapshots, driver.Snapshot{GUID: guid})
			}
		}
		order := replicate.Order{SkipIntermediate: rapid.Bool().Draw(t, "skip")}
		have := map[string]bool{}
		for _, s := range dst.Snapshots {
			have[s.GUID] = true
		}
		transfers := replicate.Steps(src, dst, order)
		for _, tr := range transfers {
			if !tr.Set.Complete {
				t.Fatalf("%s is sent, and is not complete", tr.Set.ID)
			}
			for _, s := range tr.Steps {
				switch {
				case have[s.Snapshot.GUID]:
					t.Fatalf("%s is sent again", s.Snapshot.GUID)
				case s.Base != nil && (!have[s.Base.GUID] || s.Base.Dataset != s.Snapshot.Dataset || s.Base.Order >= s.Snapshot.Order):
					t.Fatalf("%s builds on %s", s.Snapshot.GUID, s.Base.GUID)
				}
				dst.Snapshots = append(dst.Snapshots, driver.Snapshot{GUID: s.Snapshot.GUID})
			}
			for _, m := range tr.Set.Snapshots {
				have[m.GUID] = true
				for i := range dst.Snapshots {
					if dst.Snapshots[i].GUID == m.GUID {
						dst.Snapshots[i].Sealed = true
					}
				}
			}
		}
		complete := slices.DeleteFunc(src, func(s snapset.Set) bool { return !s.Complete })
		if len(complete) > 0 && replicate.Common(complete, dst) != len(complete)-1 {
			t.Fatalf("the newest set is not there afterwards: %v", told(transfers))
		}
		if again := replicate.Steps(complete, dst, order); len(again) != 0 {
			t.Fatalf("there is more to do afterwards: %v", told(again))
		}
	})
}
