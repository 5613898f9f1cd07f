package lvm

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deltaText = `<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="0">
  <diff left="1" right="2">
    <different begin="0" length="1"/>
    <different begin="1" length="2"/>
    <same begin="3" length="5"/>
    <left_only begin="8" length="1"/>
    <right_only begin="12" length="20"/>
  </diff>
</superblock>
`

func TestParseDelta(t *testing.T) {
	got, err := parseDelta(strings.NewReader(deltaText), "1", "2")
	want := delta{block: 64 << 10, runs: []run{{0, 3, changed}, {3, 5, shared}, {8, 1, gone}, {12, 20, added}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(delta{}, run{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
	swap := func(old, by string) string { return strings.Replace(deltaText, old, by, 1) }
	for name, bad := range map[string]string{
		"nothing": "", "no XML": "thin_delta: cannot open", "cut": deltaText[:len(deltaText)-20], "cut in a run": deltaText[:170],
		"other volumes": swap(`left="1"`, `left="2"`), "swapped": swap(`left="1" right="2"`, `left="2" right="1"`),
		"no block size": swap(`data_block_size="128"`, ""), "block size 0": swap(`"128"`, `"0"`), "huge blocks": swap(`"128"`, `"99999999999999999999"`),
		"unknown run": swap("left_only", "both"), "negative": swap(`begin="8"`, `begin="-8"`), "nothing long": swap(`length="5"`, `length="0"`),
		"overlap": swap(`begin="3"`, `begin="2"`), "backwards": swap(`begin="12"`, `begin="1"`), "beyond all": swap(`length="20"`, `length="18446744073709551615"`),
		"no difference": swap("<diff", "<dif"), "two": strings.Replace(deltaText, "</diff>", `</diff><diff left="1" right="2"/>`, 1),
	} {
		if d, err := parseDelta(strings.NewReader(bad), "1", "2"); !errors.Is(err, errDelta) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func FuzzParseDelta(f *testing.F) {
	f.Add(deltaText)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDelta(strings.NewReader(text), "1", "2")
		if err != nil {
			return
		}
		end := uint64(0)
		for _, r := range d.runs {
			if r.begin < end || r.length == 0 || int64(r.begin+r.length)*d.block < 0 {
				t.Fatalf("%+v", d)
			}
			end = r.begin + r.length
		}
	})
}
