package replicate

import (
	"cmp"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// Transfer is one set that a target lacks.
type Transfer struct {
	Set   snapset.Set
	Steps []Step // one a member that is not there yet; none: they are all there, and only the commit is missing
}

// Step is one stream.
type Step struct {
	Snapshot driver.Snapshot
	Base     *driver.Snapshot // at the source; nil: everything is sent
	Resume   string           // driver.Partial.Token, if a stream like this one broke before
}

// Incremental reports whether no member is sent as a whole.
func (t Transfer) Incremental() bool {
	return !slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Base == nil })
}

// Order says which of the sets that a target lacks it is to get.
type Order struct {
	SkipIntermediate bool // the newest alone
}

// byAge sorts sets of one app, oldest first: by the storage's own order where two have a dataset in common, and by their times
// only where they have none. A set that was taken while the clock was ahead is older than those that were taken after it.
func byAge(sets []snapset.Set) []snapset.Set {
	sets = slices.Clone(sets)
	slices.SortStableFunc(sets, func(a, b snapset.Set) int {
		for _, m := range a.Snapshots {
			for _, n := range b.Snapshots {
				if m.Dataset == n.Dataset && m.Order != n.Order {
					return cmp.Compare(m.Order, n.Order)
				}
			}
		}
		return a.ID.Time().Compare(b.ID.Time())
	})
	return sets
}

// Steps says what has to be sent so that a target has the sets of the source: those that are newer than the newest that both
// have, oldest first. src are sets of one app; those that are not complete count for nothing. What is older and missing at the
// target its own policy has let go.
//
// The base of each stream is the newest earlier snapshot that both have, by GUID, of those that it came out of (driver.Snapshot.Precedes),
// one that is sent before it included. Names and times decide nothing.
func Steps(src []snapset.Set, dst Listing, order Order) []Transfer {
	there := map[string]bool{}
	for _, s := range dst.Snapshots {
		if s.Fault == "" {
			there[s.GUID] = true
		}
	}
	src = slices.DeleteFunc(byAge(src), func(s snapset.Set) bool { return !s.Complete })
	lacking := src[Common(src, dst)+1:]
	if order.SkipIntermediate && len(lacking) > 1 {
		lacking = lacking[len(lacking)-1:]
	}
	transfers := make([]Transfer, 0, len(lacking))
	for _, set := range lacking {
		t := Transfer{Set: set}
		for _, m := range set.Snapshots {
			if !there[m.GUID] {
				base := baseOf(m, src, there)
				t.Steps = append(t.Steps, Step{Snapshot: m, Base: base, Resume: resumeOf(m, base, dst.Partials)})
			}
		}
		for _, m := range set.Snapshots {
			there[m.GUID] = true
		}
		transfers = append(transfers, t)
	}
	return transfers
}

// Common is the index of the newest set of src, in the order of byAge, that is at the target, whole and committed; -1 if none is.
func Common(src []snapset.Set, dst Listing) int {
	committed := map[string]bool{}
	for _, s := range dst.Snapshots {
		if s.Sealed && s.Fault == "" {
			committed[s.GUID] = true
		}
	}
	for i, s := range slices.Backward(src) {
		lacks := slices.ContainsFunc(s.Snapshots, func(m driver.Snapshot) bool { return !committed[m.GUID] })
		if s.Complete && !lacks {
			return i
		}
	}
	return -1
}

// NewestCommon is the newest set of src that is at the target, whole and committed; empty if none is.
func NewestCommon(src []snapset.Set, dst Listing) driver.SetID {
	src = byAge(src)
	if at := Common(src, dst); at >= 0 {
		return src[at].ID
	}
	return ""
}

func baseOf(m driver.Snapshot, src []snapset.Set, there map[string]bool) *driver.Snapshot {
	var best *driver.Snapshot
	for _, set := range src {
		for _, s := range set.Snapshots {
			if there[s.GUID] && s.Precedes(m) && (best == nil || s.Order > best.Order) {
				best = &s
			}
		}
	}
	return best
}

// roots are, of each dataset of which an earlier state was restored, the newest set at a target that what is there now came out of: the
// next increment builds on that, and not on what is newer. src is in the order of byAge; there is what the target has, by GUID.
func roots(src []snapset.Set, there map[string]bool) map[driver.SetID]bool {
	several := map[driver.Dataset]bool{}
	for _, set := range src {
		for _, m := range set.Snapshots {
			if m.Line() != "" {
				several[m.Dataset] = true
			}
		}
	}
	found := map[driver.SetID]bool{}
	for _, set := range slices.Backward(src) {
		for _, m := range set.Snapshots {
			if set.Complete && several[m.Dataset] && m.Line() == "" && there[m.GUID] {
				delete(several, m.Dataset)
				found[set.ID] = true
			}
		}
	}
	return found
}

func resumeOf(m driver.Snapshot, base *driver.Snapshot, partials []driver.Partial) string {
	want := ""
	if base != nil {
		want = base.GUID
	}
	for _, p := range partials {
		if p.GUID == m.GUID && p.Base == want {
			return p.Token
		}
	}
	return ""
}
