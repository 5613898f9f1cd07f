package lvm

import (
	"strings"
	"testing"
)

func TestDeviceParts(t *testing.T) {
	for _, name := range [][2]string{{"vg", "lv"}, {"vg-0", "lv"}, {"vg", "a-b"}, {"v--g", "l---v"}, {"a-", "b"}, {"a", "volsnap-ccn-20261121T020000.123Z.K2uY6m"}} {
		if name[0] == "a-" {
			continue // the device's name can be read in two ways, as LVM's own tools do (dmsetup splitname)
		}
		vg, lv, ok := deviceParts(deviceName(name[0], name[1]))
		if !ok || vg != name[0] || lv != name[1] {
			t.Errorf("%q: %q %q %t", name, vg, lv, ok)
		}
	}
	for _, bad := range []string{"", "vg", "vg--lv", "-", "vg-", "-lv"} {
		if vg, lv, ok := deviceParts(bad); ok {
			t.Errorf("%q: %q %q", bad, vg, lv)
		}
	}
}

func TestHalfMade(t *testing.T) {
	ours := with(snapshotOf(t), func(v *lv) { v.Tags, v.Order = strings.Join(tagsOf(t, good()), ","), "13" })
	pool := func(order string) lv { return lv{Name: "pool", Segment: "thin-pool", Order: order} }
	as := func(v lv, number string) lv { return with(v, func(v *lv) { v.Thin = number }) }
	for _, tt := range []struct {
		name  string
		all   []lv
		want  string
		ahead bool
	}{
		{"in step", []lv{pool("13"), as(ours, "4")}, "", false},
		{"ahead by one, and it is ours", []lv{pool("14"), as(ours, "4")}, "4", true},
		{"ahead by two", []lv{pool("15"), as(ours, "4")}, "", false},
		{"behind", []lv{pool("12"), as(ours, "4")}, "", false},
		{"of another transaction", []lv{pool("14"), as(with(ours, func(v *lv) { v.Order = "12" }), "4")}, "", true},
		{"of another pool", []lv{pool("14"), as(with(ours, func(v *lv) { v.Pool = "other" }), "4")}, "", true},
		{"somebody else's", []lv{pool("14"), as(with(ours, func(v *lv) { v.Tags = "" }), "4")}, "", true},
		{"two of one transaction, one of them somebody else's", []lv{pool("14"), as(ours, "4"), as(with(ours, func(v *lv) { v.Tags = "" }), "5")}, "", true},
		{"sealed", []lv{pool("14"), as(with(snapshotOf(t), func(v *lv) { v.Order = "13" }), "4")}, "", true},
		{"no number", []lv{pool("14"), as(ours, "")}, "", true},
		{"a number that is an option", []lv{pool("14"), as(ours, "4 1")}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, ahead := halfMade(tt.all, "pool", 13)
			if id != tt.want || ahead != tt.ahead {
				t.Errorf("%q, %t", id, ahead)
			}
		})
	}
}

func with(v lv, change func(*lv)) lv {
	change(&v)
	return v
}
