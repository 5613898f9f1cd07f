package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
)

const (
	set    driver.SetID = "ccn-20261121T020000.123Z"
	origin string       = "K2uY6m-bjnM-MKFw-g4DP-pmou-5fRr-1uEeXk"
	own    string       = "ZmIVa7-ePZ3-3de0-sI4N-NG1c-vaOb-cyNnVk"
)

func good() record {
	return record{
		Version: recordVersion, Set: set, Member: 1, Of: 2, LV: "pg", Origin: origin,
		Volumes: []driver.Volume{{Name: "data", Path: ".", NotOlderThan: []string{"w"}}},
	}
}

func tagsOf(t interface{ Fatal(...any) }, r record) []string {
	tags, err := r.tags()
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := good()
		r.Of = rapid.IntRange(1, 1000).Draw(t, "of")
		r.Member = rapid.IntRange(1, r.Of).Draw(t, "member")
		r.Volumes = nil
		for range rapid.IntRange(0, 40).Draw(t, "volumes") {
			r.Volumes = append(r.Volumes, driver.Volume{Name: rapid.StringMatching(`[^\x00]{1,60}`).Draw(t, "name"), Path: "a b/c"})
		}
		tags, err := r.tags()
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			if len(tag) > 1024 || strings.ContainsAny(tag, ",|'\" \n") {
				t.Fatalf("tag %q", tag)
			}
		}
		slices.Reverse(tags) // LVM keeps no order
		got, err := parseRecord(append([]string{"theirs", sealTag + "x"}, tags...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRecordIsBounded(t *testing.T) {
	r := good()
	for range 1000 {
		r.Volumes = append(r.Volumes, driver.Volume{Name: strings.Repeat("x", 100), Path: "."})
	}
	if _, err := r.tags(); err == nil {
		t.Error("a record of 100 KB was accepted")
	}
}

func TestParseRecordRefuses(t *testing.T) {
	one := tagsOf(t, good())
	for name, tags := range map[string][]string{
		"nothing":         nil,
		"no part":         {"volsnap.", "volsnap.1.1=", "volsnap.0.1=aa", "volsnap.1.0=aa", "volsnap.-1.1=aa"},
		"one twice":       append(slices.Clone(one), one[0]+"A"),
		"second missing":  {strings.Replace(one[0], ".1.1=", ".1.2=", 1)},
		"first missing":   {strings.Replace(one[0], ".1.1=", ".2.2=", 1)},
		"two counts":      {one[0], strings.Replace(one[0], ".1.1=", ".2.2=", 1)},
		"too many":        {strings.Replace(one[0], ".1.1=", ".1.99=", 1)},
		"no base64":       {"volsnap.1.1=A"},
		"no JSON":         {"volsnap.1.1=AAAA"},
		"cut":             {one[0][:len(one[0])-4]},
		"without prefix":  {strings.TrimPrefix(one[0], tagPrefix)},
		"foreign prefix":  {"x" + one[0]},
		"something after": {one[0] + "e30"},
	} {
		if r, err := parseRecord(tags); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, spoil := range map[string]func(*record){
		"version": func(r *record) { r.Version = 2 }, "set": func(r *record) { r.Set = "../x" },
		"member 0": func(r *record) { r.Member = 0 }, "member 3 of 2": func(r *record) { r.Member = 3 },
		"origin": func(r *record) { r.LV = "a/b" }, "uuid": func(r *record) { r.Origin = "x" },
		"path up": func(r *record) { r.Volumes[0].Path = "../x" }, "absolute": func(r *record) { r.Volumes[0].Path = "/x" },
		"no name": func(r *record) { r.Volumes[0].Name = "" }, "no UTF-8": func(r *record) { r.Volumes[0].Name = "\xff" },
	} {
		r := good()
		spoil(&r)
		if _, err := r.tags(); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(strings.Join(tagsOf(f, good()), ","))
	f.Add("volsnap.1.2=e30,volsnap.2.2=e30,volsnap.sealed=")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(strings.Split(text, ","))
		if err != nil {
			return
		}
		again, err := parseRecord(tagsOf(t, r))
		if err != nil || cmp.Diff(r, again) != "" {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// snapshotOf is a sealed snapshot as lvs shows it.
func snapshotOf(t *testing.T) lv {
	tag, err := seal{consistency: "frozen", uuid: own, taken: time.Unix(1, 5)}.tag()
	if err != nil {
		t.Fatal(err)
	}
	return lv{
		VG: "vg", Name: snapshotName(set, origin), UUID: own, Segment: "thin", Pool: "pool", Origin: "pg", OriginUUID: origin,
		Tags: strings.Join(append(tagsOf(t, good()), tag, pinOf("why")), ","), Order: "7", Permission: "read-only",
	}
}

func TestJudge(t *testing.T) {
	want := driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: "vg/pg"}, Name: "vg/volsnap-ccn-20261121T020000.123Z.K2uY6m", Set: set,
		Member: 1, Of: 2, Volumes: good().Volumes, GUID: own, Order: 7, Taken: time.Unix(1, 5).UTC(), Sealed: true,
		Consistency: "frozen", Pins: []string{"why"},
	}
	got, ok := judge(snapshotOf(t))
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Error(ok, diff)
	}
	other, _ := seal{consistency: "frozen", uuid: origin}.tag()
	second, _ := seal{consistency: "crash", uuid: own}.tag()
	for name, c := range map[string]struct {
		spoil func(*lv)
		ours  bool
		fault bool
	}{
		"renamed origin":     {func(v *lv) { v.Origin = "pg-old" }, true, false},
		"origin is gone":     {func(v *lv) { v.Origin, v.OriginUUID = "", "" }, true, false},
		"tags of others":     {func(v *lv) { v.Tags += ",mine" }, true, false},
		"writable":           {func(v *lv) { v.Permission = "writeable" }, true, true},
		"seal of another":    {func(v *lv) { v.Tags = strings.Join(tagsOf(t, good()), ",") + "," + other }, true, true},
		"two seals":          {func(v *lv) { v.Tags += "," + second }, true, true},
		"damaged seal":       {func(v *lv) { v.Tags += "," + sealTag + "frozen" }, true, true},
		"damaged pin":        {func(v *lv) { v.Tags += "," + pinTag + "A" }, true, true},
		"unknown tag":        {func(v *lv) { v.Tags += ",volsnap.new=1" }, true, true},
		"another origin":     {func(v *lv) { v.OriginUUID = own }, false, false},
		"another set's name": {func(v *lv) { v.Name = snapshotName("ccn-20261121T020001.123Z", origin) }, false, false},
		"another's name":     {func(v *lv) { v.Name = snapshotName(set, own) }, false, false},
		"no suffix":          {func(v *lv) { v.Name = set.SnapshotName() }, false, false},
		"no tags":            {func(v *lv) { v.Tags = "" }, false, false},
		"thick":              {func(v *lv) { v.Segment = "linear" }, false, false},
		"no order":           {func(v *lv) { v.Order = "" }, false, false},
	} {
		v := snapshotOf(t)
		c.spoil(&v)
		got, ok := judge(v)
		if ok != c.ours || (got.Fault != "") != c.fault {
			t.Errorf("%s: ours %t, fault %q", name, ok, got.Fault)
		}
	}
}

func TestOrphanIsNotMistakenForItsSuccessor(t *testing.T) {
	orphan := snapshotOf(t)
	orphan.Origin, orphan.OriginUUID = "", ""
	successor := lv{VG: "vg", Name: "pg", UUID: "bfvASv-qI2M-TtqI-N3gV-HRCY-awcd-TQimPa", Segment: "thin"}
	if got := ours([]lv{orphan})[0].Dataset.Name; got != "vg/pg" {
		t.Errorf("alone: %s", got)
	}
	if got := ours([]lv{orphan, successor})[0].Dataset.Name; got != "vg/pg+K2uY6m" {
		t.Errorf("beside its successor: %s", got)
	}
}
