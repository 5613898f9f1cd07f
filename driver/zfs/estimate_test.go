package zfs

import "testing"

func TestParseEstimate(t *testing.T) {
	for out, want := range map[string]int64{
		"full\ttank/a b@volsnap-x\t123\nsize\t123\n":                     123,
		"incremental\tvolsnap-x\ttank/a@volsnap-y\t4096\nsize\t4096\n":   4096,
		"resume token contents:\nnvlist version: 0\nfull\ta\t7\nsize\t7": 7,
	} {
		if got, err := parseEstimate(out); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", out, got, err, want)
		}
	}
	for _, out := range []string{"", "size 7\n", "size\tmuch\n", "full\ta\t7\n"} {
		if got, err := parseEstimate(out); err == nil {
			t.Errorf("%q: %d", out, got)
		}
	}
}
