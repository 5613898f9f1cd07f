package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

const aside = stagePrefix + "restore-1.ZmIVa7"

// twoVolumes are a dataset with a snapshot, and a stage of that, as they are before they are swapped.
func twoVolumes(t interface{ Fatal(...any) }) []lv {
	r := good()
	return []lv{
		{VG: "vg", Name: "pg", UUID: origin, Segment: "thin", Pool: "pool", Tags: "theirs"},
		{VG: "vg", Name: aside, UUID: own, Segment: "thin", Pool: "pool", Tags: stageNameTag + aside, Order: "7"},
		{
			VG: "vg", Name: snapshotName(set, origin), UUID: strings.Replace(own, "Zm", "Xx", 1), Segment: "thin", Pool: "pool", Order: "6",
			Permission: "read-only", Origin: "pg", OriginUUID: origin, Tags: strings.Join(tagsOf(t, r), ","),
		},
	}
}

// swapped is what a swap that is killed after so many renames leaves, of tags and names.
func swapped(t interface{ Fatal(...any) }, all []lv, guid string, renames int) []lv {
	p, err := pairOf(all, "pg", aside, guid)
	if err != nil {
		t.Fatal(err)
	}
	all = slices.Clone(all)
	at := func(v lv) *lv {
		return &all[slices.IndexFunc(all, func(o lv) bool { return o.UUID == v.UUID })]
	}
	begun := []string{stageNameTag + aside, placeTag + "pg"}
	tags := begun
	for _, uuid := range lines(all, p.wanted, p.other) {
		tags = append(tags, lineTag+uuid)
	}
	at(p.other).Tags = strings.Join(slices.Concat(keep(p.other), begun), ",")
	at(p.wanted).Tags = strings.Join(slices.Concat(p.other.others(), tags), ",")
	if p.placed() {
		at(p.wanted).Tags = strings.Join(slices.Concat(p.wanted.others(), tags), ",")
	}
	steps := p.steps()
	for _, step := range steps[:min(renames, len(steps))] {
		if _, there := named(all, step[1]); there {
			t.Fatal("the name is taken: " + step[1])
		}
		for i := range all {
			if all[i].Name == step[0] {
				all[i].Name = step[1]
			}
			if all[i].Origin == step[0] {
				all[i].Origin = step[1]
			}
		}
	}
	if renames >= len(steps) {
		at(p.wanted).Tags = strings.Join(keep(*at(p.wanted)), ",")
	}
	return all
}

// Wherever it breaks, the next one comes to its end in either direction, and the snapshot is listed as before all the time.
func TestSwapGoesOnFromAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := twoVolumes(t)
		for range rapid.IntRange(1, 6).Draw(t, "swaps") {
			guid := rapid.SampledFrom([]string{origin, own}).Draw(t, "guid")
			all = swapped(t, all, guid, rapid.IntRange(0, 3).Draw(t, "renames"))
			if got := ours(all); len(got) != 1 || got[0].Dataset.Name != "vg/pg" {
				t.Fatalf("listed: %+v, of %+v", got, all)
			}
		}
		guid := rapid.SampledFrom([]string{origin, own}).Draw(t, "last")
		all = swapped(t, all, guid, 3)
		p, err := pairOf(all, "pg", aside, guid)
		if err != nil || !p.done() || p.wanted.UUID != guid || !p.other.isStage() || p.wanted.isStage() {
			t.Fatalf("%+v, %v", p, err)
		}
		if !slices.Contains(p.wanted.tags(), "theirs") {
			t.Fatalf("tags of the dataset: %q", p.wanted.Tags)
		}
	})
}

func TestWhatIsNoPair(t *testing.T) {
	for name, change := range map[string]func([]lv) []lv{
		"no stage":             func(all []lv) []lv { all[1].Tags = ""; return all },
		"another name":         func(all []lv) []lv { all[1].Tags = stageNameTag + "x"; return all },
		"read-only":            func(all []lv) []lv { all[0].Permission = "read-only"; return all },
		"another dataset's":    func(all []lv) []lv { all[1].Tags += "," + placeTag + "other"; return all },
		"something in between": func(all []lv) []lv { return append(all, lv{VG: "vg", Name: thirdName(aside)}) },
		"not on its way":       func(all []lv) []lv { all[0].Name = thirdName(aside); return all },
	} {
		if p, err := pairOf(change(twoVolumes(t)), "pg", aside, own); !errors.Is(err, driver.ErrForeign) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := pairOf(twoVolumes(t), "pg", aside, "x"); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("another GUID: %v", err)
	}
	if _, err := pairOf(twoVolumes(t)[1:], "pg", aside, own); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("no dataset: %v", err)
	}
	other := twoVolumes(t)
	other[0].Pool = "other"
	if _, err := pairOf(other, "pg", aside, own); !errors.Is(err, driver.ErrNotSupported) {
		t.Errorf("two pools: %v", err)
	}
}

// When what was replaced is gone, its snapshots are still listed under the name of what replaced it, whatever that is called by then.
func TestSnapshotsOfWhatWasReplaced(t *testing.T) {
	all := swapped(t, twoVolumes(t), own, 3)
	all = slices.DeleteFunc(all, func(v lv) bool { return v.UUID == origin })
	all[1].Origin, all[1].OriginUUID = "", ""
	if got := ours(all); len(got) != 1 || got[0].Dataset.Name != "vg/pg" || got[0].Fault != "" {
		t.Errorf("%+v", got)
	}
	all[0].Name = "renamed"
	if got := ours(all); len(got) != 1 || got[0].Dataset.Name != "vg/renamed" {
		t.Errorf("renamed: %+v", got)
	}
}

func TestNewStageIsInTheMaking(t *testing.T) {
	all := twoVolumes(t)
	if !all[1].inTheMaking() || all[0].inTheMaking() {
		t.Error("a new stage is not in the making, or a dataset is")
	}
	for _, v := range swapped(t, all, own, 3) {
		if (v.UUID == own || v.UUID == origin) && v.inTheMaking() {
			t.Errorf("%s is in the making", v)
		}
	}
}

func TestStageNames(t *testing.T) {
	for name, want := range map[string]bool{
		aside: true, stagePrefix + "a.b.K2uY6m": true, stagePrefix + ".K2uY6m": false, stagePrefix + "a": false, stagePrefix + "-a.K2uY6m": false,
		"x" + aside: false, aside + "x": false, thirdName(aside): false, snapshotName(set, origin): false,
	} {
		if isStageName(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
	long := stageName(strings.Repeat("a", 60), own)
	if !isStageName(long) || !validName(long) {
		t.Error(long)
	}
}

func TestMountsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var these []mountPoint
		for range rapid.IntRange(1, 20).Draw(t, "mounts") {
			these = append(these, mountPoint{
				At: "/" + rapid.StringMatching(`[^\x00]{1,60}`).Draw(t, "at"), Root: "/a b", FS: "xfs", Mount: []string{"rw", "nosuid"}, Options: []string{"rw"},
			})
		}
		tags, err := mountTags(these)
		if err != nil {
			t.Fatal(err)
		}
		got, err := recordedMounts(append(tags, "theirs"))
		if diff := cmp.Diff(these, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
	if got, err := recordedMounts([]string{"theirs"}); got != nil || err != nil {
		t.Errorf("nothing: %+v, %v", got, err)
	}
	if _, err := recordedMounts([]string{mountsPrefix + "1.2=e30"}); !errors.Is(err, errDamaged) {
		t.Errorf("half of it: %v", err)
	}
}

func TestPointsOf(t *testing.T) {
	m := mountinfo.Mount{Root: "/", Point: "/srv/a b", FS: "ext4", Options: []string{"ro", "nosuid", "relatime", "rw", "errors=remount-ro"}}
	got, err := pointsOf([]mountinfo.Mount{m})
	want := []mountPoint{{"/srv/a b", "/", "ext4", []string{"ro", "nosuid", "relatime"}, []string{"rw", "errors=remount-ro"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if is, err := got[0].attributes(); err != nil || is != unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID {
		t.Errorf("%#x, %v", is, err)
	}
	for what, change := range map[string]func(*mountinfo.Mount){
		"idmapped":   func(m *mountinfo.Mount) { m.Options = []string{"rw", "idmapped", "rw"} },
		"deleted":    func(m *mountinfo.Mount) { m.Root = "/x//deleted" },
		"no text":    func(m *mountinfo.Mount) { m.Point = "/\xff" },
		"no options": func(m *mountinfo.Mount) { m.Options = []string{"rw", "bind"} },
	} {
		bad := m
		change(&bad)
		if got, err := pointsOf([]mountinfo.Mount{bad}); !errors.Is(err, driver.ErrNotSupported) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}
