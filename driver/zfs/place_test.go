package zfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

const childName = "tank/replicas/pg-0a1b2c3d"

// lines are what `zfs get` prints of one dataset or snapshot.
func lines(name string, change map[string]property) string {
	isSnapshot := strings.Contains(name, "@")
	var b strings.Builder
	for _, prop := range asked {
		p, changed := change[prop]
		if !changed {
			p = property{"-", "-"}
			switch {
			case prop == "guid":
				p.value = "100"
			case prop == "createtxg":
				p.value = "7"
			case prop == "type" && isSnapshot:
				p.value = "snapshot"
			case prop == "type":
				p.value = "filesystem"
			case prop == "userrefs" && isSnapshot:
				p.value = "0"
			}
		}
		b.WriteString(strings.Join([]string{name, prop, p.value, p.source}, "\t") + "\n")
	}
	return b.String()
}

func viewOf(t testing.TB, out string) (*view, error) {
	t.Helper()
	all := facts{}
	w := &rowWriter{use: all.add}
	if _, err := w.Write([]byte(out)); err != nil {
		return nil, err
	}
	return place{"tank/replicas"}.view(all)
}

func encodedReplica(t testing.TB, change func(*replica)) string {
	t.Helper()
	r := sampleReplica()
	if change != nil {
		change(&r)
	}
	value, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestWhatIsAReplica(t *testing.T) {
	rec, from := encodedReplica(t, nil), "inherited from "+childName
	other := encodedReplica(t, func(r *replica) { r.GUID = "200" })
	wrongSet := encodedReplica(t, func(r *replica) { r.Set = "ccn-20261121T020001.123Z" })
	name := childName + "@" + snapName
	ours := driver.Snapshot{Dataset: driver.Dataset{Kind: Kind, Name: childName}, Name: name, GUID: "100", Order: 7}
	sampleReplica().fill(&ours)
	sealed := ours
	sealed.Sealed, sealed.Consistency = true, "frozen"
	faulty := func(s driver.Snapshot, fault string) *driver.Snapshot { s.Fault = fault; return &s }
	unsure := ours
	unsure.Sealed = true
	damaged := driver.Snapshot{Dataset: ours.Dataset, Name: name, Set: setID, GUID: "100", Order: 7, Sealed: true, Consistency: "frozen"}
	const seal = "1 frozen 1 1:100"
	for _, tc := range []struct {
		name, at        string
		own, seal, inFS property
		want            *driver.Snapshot
		borrowed        bool
	}{
		{"with its own record", name, property{rec, local}, property{}, property{}, &ours, false},
		{"with its own, another arriving", name, property{rec, local}, property{}, property{other, local}, &ours, false},
		{"sealed", name, property{rec, local}, property{seal, local}, property{other, local}, &sealed, false},
		{"arrived a moment ago", name, property{rec, from}, property{}, property{rec, local}, &ours, true},
		{"beside one that is about to arrive", name, property{other, from}, property{}, property{other, local}, nil, false},
		{"of another set than its name says", name, property{wrongSet, local}, property{}, property{}, nil, false},
		{"what came with a stream", name, property{rec, "received"}, property{seal, "received"}, property{}, nil, false},
		{"what came with the stream of the file system", name, property{rec, from}, property{}, property{rec, "received"}, nil, false},
		{"inherited from above", name, property{rec, "inherited from tank"}, property{}, property{rec, "inherited from tank"}, nil, false},
		{"not in the place", "tank/pg-0a1b2c3d@" + snapName, property{rec, local}, property{}, property{}, nil, false},
		{"below a replica", childName + "/x@" + snapName, property{rec, local}, property{}, property{}, nil, false},
		{"in what is not called so", "tank/replicas/mine@" + snapName, property{rec, local}, property{}, property{}, nil, false},
		{"not called so", childName + "@daily", property{rec, local}, property{}, property{rec, local}, nil, false},
		{"no record", name, property{"-", "-"}, property{seal, local}, property{}, nil, false},
		{
			"replaced by another", name,
			property{other, local},
			property{"1 frozen 1 1:200", local},
			property{},
			faulty(unsure, "has the GUID 100, not 200 as when it arrived"), false,
		},
		{
			"with the seal of another", name,
			property{rec, local},
			property{"1 frozen 1 1:200", local},
			property{},
			faulty(unsure, "has a seal that volsnap did not set on it"), false,
		},
		{"with an inherited seal", name, property{rec, local}, property{seal, from}, property{}, &ours, false},
		{"sealed, and the record damaged", name, property{"x", local}, property{seal, local}, property{}, faulty(damaged, "its record is damaged: invalid character 'x' looking for beginning of value"), false},
		{"the record damaged", name, property{"x", local}, property{}, property{rec, local}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := viewOf(t, lines("tank/replicas", nil)+lines(childName, map[string]property{replicaProp: tc.inFS})+
				lines(tc.at, map[string]property{replicaProp: tc.own, replicaSeal: tc.seal}))
			if err != nil {
				t.Fatal(err)
			}
			var got *driver.Snapshot
			for _, s := range v.ours() {
				got = &s
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if one := v.snapshots[tc.at]; (one.borrowed != nil) != tc.borrowed {
				t.Errorf("borrowed: %+v", one.borrowed)
			}
		})
	}
}

func TestViewRefuses(t *testing.T) {
	good := lines("tank/replicas", nil) + lines(childName, nil)
	name := childName + "@" + snapName
	forged := "x\t-\n" + lines(childName, map[string]property{replicaProp: {encodedReplica(t, nil), local}})
	for what, out := range map[string]string{
		"a tab in a value":        good + lines(name, map[string]property{replicaProp: {"a\tb", local}}),
		"a line break in a value": good + lines(name, map[string]property{replicaProp: {forged, local}}),
		"twice":                   good + lines(childName, nil),
		"cut off":                 good + strings.Join(strings.SplitAfter(lines(name, nil), "\n")[:3], ""),
		"a property more":         good + "tank/replicas\tmountpoint\tnone\tlocal\n",
		"no GUID":                 good + lines(name, map[string]property{"guid": {"-", "-"}}),
		"no txg":                  good + lines(name, map[string]property{"createtxg": {"-", "-"}}),
	} {
		if v, err := viewOf(t, out); err == nil {
			t.Errorf("%s: %+v", what, v.ours())
		}
	}
}

// FuzzView: whatever is printed, what is listed as ours was shown to be.
func FuzzView(f *testing.F) {
	rec := encodedReplica(f, nil)
	f.Add(lines(childName, map[string]property{replicaProp: {rec, local}}) + lines(childName+"@"+snapName, map[string]property{replicaProp: {rec, local}}))
	f.Fuzz(func(t *testing.T, out string) {
		v, err := viewOf(t, out)
		if err != nil {
			return
		}
		for _, s := range v.ours() {
			if err := (place{"tank/replicas"}).could(s); err != nil || !validGUID(s.GUID) || s.Fault == "" && (s.Member < 1 || s.Member > s.Of) {
				t.Fatalf("%+v: %v", s, err)
			}
		}
	})
}
