package replicate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
)

// TestStepsAfterARestore: what is taken after an earlier state was restored builds on that, and what had been there before goes on
// where it was.
func TestStepsAfterARestore(t *testing.T) {
	src := history("a", "a", "a", "a", "a") // the third and the fourth were replaced by the second, the fifth came after that
	for _, i := range []int{2, 3} {
		src[i].Snapshots[0].Lines = []driver.Line{{ID: "x", Order: uint64(i + 1)}, {Order: 2}}
	}
	for _, tc := range []struct {
		name string
		have []string
		want []string
	}{
		{"up to what was replaced", []string{"a0", "a1", "a2", "a3"}, []string{"4: a1>a4"}},
		{"but for the undo set", []string{"a0", "a1", "a2"}, []string{"3: a2>a3", "4: a1>a4"}},
		{"only what was restored", []string{"a0", "a1"}, []string{"2: a1>a2", "3: a2>a3", "4: a1>a4"}},
		{"only what is older", []string{"a0"}, []string{"1: a0>a1", "2: a1>a2", "3: a2>a3", "4: a1>a4"}},
		{"nothing in common with what is there now", []string{"a2"}, []string{"3: a2>a3", "4: >a4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, told(replicate.Steps(src, there(tc.have), replicate.Order{}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
