package zfs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

const snapName = "volsnap-ccn-20261121T020000.123Z"

// line is a line of a listing with these properties.
func line(name, guid, seal, record string) []string {
	f := []string{name, guid, "812", "1795226400", "0", "-", "-", "-", seal, record}
	return append(f, "-", "-", "-")
}

func encoded(t testing.TB, r record) string {
	t.Helper()
	value, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestJudge: what is inherited, copied or damaged is never believed.
func TestJudge(t *testing.T) {
	volumes := []driver.Volume{{Name: "v", Path: "."}}
	good := record{Version: 1, Set: setID, Of: 2, Items: []item{{Member: 2, Dataset: "77", Volumes: volumes}}}
	other := good
	other.Set = "ccn-20261121T030000.123Z"
	elsewhere := good
	elsewhere.Items = []item{{Member: 2, Dataset: "78", Volumes: volumes}}
	const mine, theirs = "1 frozen 1795226400000000001 2:100", "1 frozen 1795226400000000001 2:101"

	ours := driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: "tank/a b"}, Name: "tank/a b@" + snapName, Set: setID, Member: 2, Of: 2,
		Volumes: volumes, GUID: "100", Order: 812, Taken: time.Unix(1795226400, 0),
	}
	sealed := ours
	sealed.Sealed, sealed.Consistency, sealed.Taken = true, "frozen", time.Unix(1795226400, 1)
	was := ours
	was.Taken = sealed.Taken
	faulty := func(s driver.Snapshot, fault string) *driver.Snapshot {
		s.Sealed, s.Fault = true, fault
		return &s
	}
	damaged := sealed
	damaged.Member, damaged.Of, damaged.Volumes, damaged.Consistency, damaged.Taken = 0, 0, nil, "", ours.Taken

	for _, tc := range []struct {
		name, snap, seal, record string
		want                     *driver.Snapshot
	}{
		{"not sealed", snapName, "-", encoded(t, good), &ours},
		{"sealed", snapName, mine, encoded(t, good), &sealed},
		{"unsealed after it was promoted", snapName, strings.Replace(mine, "frozen", unsealed, 1), encoded(t, elsewhere), &was},
		{"a name of somebody else", "daily", mine, encoded(t, good), nil},
		{"no record", snapName, "-", "-", nil},
		{"no record that can be read", snapName, "-", "x", nil},
		{"the record of another set, inherited or renamed", snapName, "-", encoded(t, other), nil},
		{"the same, sealed", snapName, mine, encoded(t, other), nil},
		{"the record of other datasets, inherited", snapName, "-", encoded(t, elsewhere), nil},
		{"sealed, and promoted to another dataset", snapName, mine, encoded(t, elsewhere), &sealed},
		{"the seal of another", snapName, theirs, encoded(t, good), faulty(ours, "has a seal that was set on other snapshots")},
		{"no seal of ours", snapName, "yes", encoded(t, good), faulty(ours, "has a seal that volsnap did not write")},
		{"the seal of another, and no record", snapName, theirs, "-", nil},
		{"sealed, and the record lost", snapName, mine, "-", faulty(damaged, "its record is damaged: EOF")},
		{
			"sealed as another member", snapName, "1 frozen 1 1:100", encoded(t, good),
			faulty(damaged, "is sealed as member 1, of which its record knows nothing"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := newTable()
			for _, f := range [][]string{line("tank/a b", "77", "-", "-"), line("tank/a b@"+tc.snap, "100", tc.seal, tc.record)} {
				if err := tab.add(f); err != nil {
					t.Fatal(err)
				}
			}
			var got *driver.Snapshot
			for _, r := range tab.rows {
				if s, by := tab.judge(r); by != none {
					got = &s
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	good := line("tank/a@"+snapName, "100", "-", "-")
	change := func(at int, value string) []string {
		f := append([]string{}, good...)
		f[at] = value
		return f
	}
	for name, f := range map[string][]string{
		"too few": good[:5], "too many": append(append([]string{}, good...), "-", "-"), "empty": {""}, "a tab in a value": append(good, "x", "-"),
		"no GUID": change(1, "-"), "GUID 0": change(1, "0"), "no txg": change(2, "-"), "no time": change(3, "x"), "an option": change(0, "-r@x"),
		"twice": good,
	} {
		tab := newTable()
		if err := tab.add(good); err != nil {
			t.Fatal(err)
		}
		if err := tab.add(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRowWriter(t *testing.T) {
	var got [][]string
	w := &rowWriter{use: func(f []string) error {
		got = append(got, f)
		return nil
	}}
	for _, part := range []string{"a b\t", "c\nd\n", "", "\t-\ne"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff([][]string{{"a b", "c"}, {"d"}, {"", "-"}}, got); diff != "" || w.rest.String() != "e" {
		t.Errorf("rest %q: %s", w.rest.String(), diff)
	}
	stop := errors.New("stop")
	w.use = func([]string) error { return stop }
	if _, err := w.Write([]byte("x\n")); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// FuzzAdd: whatever is printed, what is listed as ours was shown to be.
func FuzzAdd(f *testing.F) {
	rec := encoded(f, sampleRecord(1))
	f.Add("tank/a\t" + sampleRecord(1).Items[0].Dataset + "\t1\t1\t-\t-\t-\t-\t-\t-\t-\t-\t-\ntank/a@" + snapName + "\t5\t1\t1\t0\t-\toff\t-\t1 frozen 1 1:5\t" + rec + "\t-\t-\t-\n")
	f.Fuzz(func(t *testing.T, out string) {
		tab := newTable()
		w := &rowWriter{use: tab.add}
		_, _ = w.Write([]byte(out))
		for _, r := range tab.rows {
			s, by := tab.judge(r)
			if by == none {
				continue
			}
			if err := checkAsked(s); err != nil || !validGUID(s.GUID) || s.Fault == "" && (s.Member < 1 || s.Member > s.Of) {
				t.Fatalf("%+v: %v", s, err)
			}
			if strings.ContainsAny(s.Name, "\t\n,") {
				t.Fatalf("%q", s.Name)
			}
		}
	})
}
