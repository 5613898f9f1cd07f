package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

var place = realm{vg: "vg", pool: "pool", owner: "replicas/node1"}

func announcement() driver.ReceiveRequest {
	return driver.ReceiveRequest{Snapshot: driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: "vg0/pg"}, Set: set, Member: 1, Of: 2, GUID: origin, Taken: time.Unix(3, 4).UTC(),
		Volumes: good().Volumes,
	}}
}

// arriving is a volume that is being received, as lvs shows it.
func arriving(t *testing.T) lv {
	t.Helper()
	rec, err := place.announced(announcement())
	if err != nil {
		t.Fatal(err)
	}
	tags, err := rec.tags()
	if err != nil {
		t.Fatal(err)
	}
	return lv{
		VG: "vg", Name: place.stagingName(rec), UUID: own, Segment: "thin", Pool: "pool", Tags: strings.Join(tags, ","), Order: "7",
		Permission: "writeable",
	}
}

// arrived is a sealed replica.
func arrived(t *testing.T) lv {
	t.Helper()
	v := arriving(t)
	rec, _ := place.belongs(v)
	v.Name, v.Permission = place.replicaName(rec), "read-only"
	v.Tags += "," + arrivedTag(v, time.Unix(5, 6)) + "," + place.pinOf("why")
	tag, err := sealReplica(v, "frozen")
	if err != nil {
		t.Fatal(err)
	}
	v.Tags += "," + tag
	return v
}

func TestJudgeReplica(t *testing.T) {
	rec, _ := place.belongs(arriving(t))
	want := driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: "vg/volsnap." + place.key("vg0/pg")},
		Name:    "vg/volsnap-ccn-20261121T020000.123Z." + place.key("vg0/pg"), Set: set, Member: 1, Of: 2, Volumes: good().Volumes,
		GUID: origin, Order: 7, Taken: time.Unix(3, 4).UTC(), Received: time.Unix(5, 6).UTC(), Sealed: true, Consistency: "frozen",
		Pins: []string{"why"},
	}
	got, ok := place.judge(arrived(t))
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Error(ok, diff)
	}
	swap := func(old, by string) func(*lv) {
		return func(v *lv) { v.Tags = strings.ReplaceAll(v.Tags, old, by) }
	}
	without := func(prefix string) func(*lv) {
		return func(v *lv) {
			v.Tags = strings.Join(slices.DeleteFunc(v.tags(), func(tag string) bool { return strings.HasPrefix(tag, prefix) }), ",")
		}
	}
	other := rec
	other.Member = 2
	otherTags, _ := other.tags()
	for name, c := range map[string]struct {
		spoil func(*lv)
		ours  bool
		fault bool
	}{
		"as it is":                   {func(*lv) {}, true, false},
		"of others too":              {func(v *lv) { v.Tags += ",mine" }, true, false},
		"unsealed":                   {without(replicaPrefix + sealName), true, false},
		"writable":                   {func(v *lv) { v.Permission = "writeable" }, true, true},
		"a copy of it":               {func(v *lv) { v.UUID = origin }, false, false},
		"seal of another":            {swap("sealed=frozen/"+own, "sealed=frozen/"+origin), true, true},
		"seal of another class":      {swap("sealed=frozen/", "sealed=Frozen/"), true, true},
		"record that was not sealed": {swap(rec0(rec), otherTags[0]), true, true},
		"two seals":                  {func(v *lv) { tag, _ := sealReplica(*v, "crash"); v.Tags += "," + tag }, true, true},
		"damaged pin":                {func(v *lv) { v.Tags += "," + replicaPrefix + "pin=A" }, true, true},
		"unknown tag":                {func(v *lv) { v.Tags += "," + replicaPrefix + "new=1" }, true, true},
		"still arriving":             {func(v *lv) { v.Tags += "," + progressTag + "1" }, true, true},
		"never arrived":              {without(receivedTag), false, false},
		"arrived twice":              {func(v *lv) { v.Tags += "," + arrivedTag(*v, time.Unix(9, 9)) }, false, false},
		"no record":                  {without(replicaPrefix + "1"), false, false},
		"another group":              {func(v *lv) { v.VG = "vg2" }, false, false},
		"another pool":               {func(v *lv) { v.Pool = "pool2" }, false, false},
		"another name":               {func(v *lv) { v.Name += "0" }, false, false},
		"name of what arrives":       {func(v *lv) { v.Name = place.stagingName(rec) }, false, false},
		"thick":                      {func(v *lv) { v.Segment = "linear" }, false, false},
	} {
		v := arrived(t)
		c.spoil(&v)
		got, ok := place.judge(v)
		if ok != c.ours || (got.Fault != "") != c.fault {
			t.Errorf("%s: ours %t, fault %q", name, ok, got.Fault)
		}
		if got, ok := judge(v); ok {
			t.Errorf("%s: the host takes it for %+v", name, got)
		}
		if _, ok := (realm{vg: "vg", pool: "pool", owner: "replicas/node2"}).judge(v); ok {
			t.Errorf("%s: another place takes it for its own", name)
		}
	}
	if _, ok := place.judge(snapshotOf(t)); ok {
		t.Error("the place takes a snapshot of the host for its own")
	}
}

func rec0(rec replica) string {
	tags, _ := rec.tags()
	return tags[0]
}

// Names of what arrives are as short as devices have to be, and different for each place, pool and source.
func TestReplicaNames(t *testing.T) {
	rec, _ := place.belongs(arriving(t))
	rec.Set = driver.SetID(strings.Repeat("a", 32) + "-20261121T020000.123Z")
	if device := deviceName(strings.Repeat("v", 20), place.replicaName(rec)); len(device) > maxDeviceName {
		t.Errorf("%q has %d bytes", device, len(device))
	}
	seen := map[string]bool{}
	for _, r := range []realm{place, {"vg", "pool2", place.owner}, {"vg", "pool", "targets/node1"}} {
		for _, source := range []string{"vg0/pg", "vg0/pg_1", "vg1/pg"} {
			seen[r.key(source)] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d keys of 9", len(seen))
	}
}

func TestAnnouncementsAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*driver.ReceiveRequest){
		"another kind": func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Kind = "zfs" },
		"a path":       func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Name = "/vg/pg" },
		"an option":    func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Name = "-x/pg" },
		"no GUID":      func(r *driver.ReceiveRequest) { r.Snapshot.GUID = "" },
		"base itself":  func(r *driver.ReceiveRequest) { r.Base = r.Snapshot.GUID },
		"far future":   func(r *driver.ReceiveRequest) { r.Snapshot.Taken = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) },
		"too much": func(r *driver.ReceiveRequest) {
			r.Snapshot.Volumes = []driver.Volume{{Name: strings.Repeat("v", 1<<20), Path: "."}}
		},
	} {
		req := announcement()
		spoil(&req)
		if rec, err := place.announced(req); err == nil {
			t.Errorf("%s: %+v", name, rec)
		}
	}
	long := realm{vg: strings.Repeat("v", 100), pool: "pool", owner: "x"}
	if _, err := long.announced(announcement()); err == nil {
		t.Error("a name that is too long for a device was accepted")
	}
}

func TestInto(t *testing.T) {
	for _, bad := range []string{"", "vg", "vg/", "/vg/pool", "vg/a/b", "-v/pool", "vg/../pool"} {
		if _, err := Into(bad, Options{Owner: "x"}); !errors.Is(err, driver.ErrNotSupported) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 201), "\xff"} {
		if _, err := Into("vg/pool", Options{Owner: bad}); err == nil {
			t.Errorf("owner %q was accepted", bad)
		}
	}
}

// What is being received is known as such whoever's place it is, so that a pool is settled in which its making was killed.
func TestHalfMadeReplica(t *testing.T) {
	pool := lv{Name: "pool", Segment: "thin-pool", Order: "8"}
	numbered := func(v lv) lv { v.Thin = "4"; return v }
	if id, ahead := halfMade([]lv{pool, numbered(arriving(t))}, "pool", 7); id != "4" || !ahead {
		t.Errorf("%q, %t", id, ahead)
	}
	if id, _ := halfMade([]lv{pool, numbered(arrived(t))}, "pool", 7); id != "" {
		t.Errorf("a replica that has arrived is given up: %q", id)
	}
}

func TestProgress(t *testing.T) {
	v := arriving(t)
	if at, ok := progressOf(v); ok {
		t.Errorf("%v", at)
	}
	const text = "3-4096-512-00000000000000000000000000000000000000000000000000000000000000aa"
	v.Tags += "," + progressTag + text
	if at, ok := progressOf(v); !ok || at.String() != text {
		t.Errorf("%v, %t", at, ok)
	}
	v.Tags += "," + progressTag + text
	if _, ok := progressOf(v); ok {
		t.Error("two of them were accepted")
	}
	if _, err := stream.ParsePosition(text); err != nil {
		t.Error(err)
	}
}

func FuzzParseReplica(f *testing.F) {
	rec, err := place.announced(announcement())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec0(rec))
	f.Add(replicaPrefix + "1.1=e30")
	f.Fuzz(func(t *testing.T, text string) {
		rec, err := parseReplica(strings.Split(text, ","))
		if err != nil {
			return
		}
		tags, err := rec.tags()
		if err != nil {
			t.Fatalf("%+v: %v", rec, err)
		}
		again, err := parseReplica(tags)
		if err != nil || cmp.Diff(rec, again) != "" {
			t.Fatalf("%+v became %+v, %v", rec, again, err)
		}
	})
}
