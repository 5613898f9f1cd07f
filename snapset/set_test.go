package snapset_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

const id = driver.SetID("ccn-20261121T020000.123Z")

func member(k, of int) driver.Snapshot {
	name := string(rune('a' + k))
	return driver.Snapshot{
		Dataset: driver.Dataset{Kind: "fake", Name: "/" + name}, Name: "/s/" + name, Set: id, Member: k, Of: of, GUID: "guid-" + name,
		Volumes: []driver.Volume{{Name: name, Path: "."}}, Sealed: true, Consistency: "frozen",
	}
}

func TestComplete(t *testing.T) {
	change := func(i int, f func(*driver.Snapshot)) func([]driver.Snapshot) []driver.Snapshot {
		return func(s []driver.Snapshot) []driver.Snapshot { f(&s[i]); return s }
	}
	tests := []struct {
		name           string
		change         func([]driver.Snapshot) []driver.Snapshot
		manifest       func(*snapset.Manifest)
		complete, left bool
		fault          string
	}{
		{name: "whole", complete: true},
		{name: "a member is missing", change: func(s []driver.Snapshot) []driver.Snapshot { return s[1:] }, fault: "1 of 3 members are missing"},
		{name: "one is not sealed", change: change(1, func(s *driver.Snapshot) { s.Sealed = false }), left: true, fault: "not sealed"},
		{name: "one is writable", change: change(0, func(s *driver.Snapshot) { s.Fault = "is writable" }), fault: "is writable"},
		{name: "one is a member twice", change: change(0, func(s *driver.Snapshot) { s.Member = 2 }), fault: "a second time"},
		{name: "they do not agree on how many", change: change(2, func(s *driver.Snapshot) { s.Of = 4 }), fault: "others say"},
		{name: "an absurd number of members", change: change(0, func(s *driver.Snapshot) { s.Of, s.Member = 1<<62, 1<<61 }), fault: "say"},
		{name: "the manifest names another GUID", manifest: func(m *snapset.Manifest) { m.Members[0].GUID = "x" }, fault: `GUID "x"`},
		{
			name:   "an unsealed one of somebody else's making is not ours to remove",
			change: change(0, func(s *driver.Snapshot) { s.Sealed, s.Fault = false, "has another GUID" }), fault: "another GUID",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			snaps := []driver.Snapshot{member(1, 3), member(2, 3), member(3, 3)}
			recorded := *snapset.Assemble(snaps, nil)[0].Manifest
			recorded.Members = append([]snapset.Member{}, recorded.Members...)
			if tt.change != nil {
				snaps = tt.change(snaps)
			}
			if tt.manifest != nil {
				tt.manifest(&recorded)
			}
			sets := snapset.Assemble(snaps, map[driver.SetID]*snapset.Manifest{id: &recorded})
			if len(sets) != 1 {
				t.Fatalf("%d sets", len(sets))
			}
			s := sets[0]
			if s.Complete != tt.complete || s.Manifest.Complete != tt.complete || s.LeftOver != tt.left {
				t.Errorf("complete %t (manifest %t), left over %t", s.Complete, s.Manifest.Complete, s.LeftOver)
			}
			if faults := strings.Join(s.Manifest.Faults, "; "); !strings.Contains(faults, tt.fault) || (faults == "") != tt.complete {
				t.Errorf("faults %q; want %q", faults, tt.fault)
			}
		})
	}
}

// However the listing is ordered, the answer is the same; and a set is complete only when each member is there once.
// When a copy of a pool is there beside it, nothing says which members are the copy. None of the two is ours to remove, not
// even as left over.
func TestTwins(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		one, copied, other := member(1, 2), member(1, 2), member(2, 2)
		copied.Name, copied.Dataset.Name = "/copy/b", "/copy"
		one.Sealed, copied.Sealed = sealed, sealed
		s := snapset.Assemble([]driver.Snapshot{copied, other, one}, nil)[0]
		if s.Complete || s.LeftOver {
			t.Errorf("sealed %t: complete %t, left over %t", sealed, s.Complete, s.LeftOver)
		}
		for _, m := range s.Snapshots {
			if twin := m.Member == 1; strings.Contains(m.Fault, "a second time, as /") != twin {
				t.Errorf("sealed %t: %s has the fault %q", sealed, m.Name, m.Fault)
			}
		}
	}
}

// What is put beside a recorded set makes it neither incomplete nor left over.
func TestStrangerIsNoMember(t *testing.T) {
	whole := []driver.Snapshot{member(1, 2), member(2, 2)}
	recorded := map[driver.SetID]*snapset.Manifest{id: snapset.Assemble(whole, nil)[0].Manifest}
	for _, k := range []int{1, 2, 3} {
		stranger := member(k, 2)
		stranger.Name, stranger.GUID, stranger.Sealed = "/bob", "of somebody else", false
		s := snapset.Assemble([]driver.Snapshot{whole[0], stranger, whole[1]}, recorded)[0]
		if !s.Complete || s.LeftOver || len(s.Snapshots) != 2 {
			t.Errorf("member %d: %+v, faults %q", k, s, s.Manifest.Faults)
		}
	}
}

// Where the manifest is lost, nothing tells a stranger from a member. The set counts as damaged then, and not as left over,
// which the next run would remove.
func TestStrangerMakesNoRemains(t *testing.T) {
	for _, k := range []struct{ member, of int }{{1, 2}, {2, 2}, {3, 2}, {0, 2}, {3, 3}, {1, 1}} {
		stranger := member(k.member, k.of)
		stranger.Name, stranger.GUID, stranger.Sealed = "/bob", "of somebody else", false
		for _, order := range [][]driver.Snapshot{
			{member(1, 2), member(2, 2), stranger}, {stranger, member(2, 2), member(1, 2)},
		} {
			if s := snapset.Assemble(order, nil)[0]; s.LeftOver || s.Complete {
				t.Errorf("a stranger that is member %d of %d: left over %t, complete %t", k.member, k.of, s.LeftOver, s.Complete)
			}
		}
	}
}

func TestAssembleDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.IntRange(1, 5).Draw(t, "of")
		have := rapid.SliceOfN(rapid.IntRange(1, of), 1, 8).Draw(t, "members")
		var snaps []driver.Snapshot
		distinct := map[int]bool{}
		for _, k := range have {
			snaps = append(snaps, member(k, of))
			distinct[k] = true
		}
		shuffled := rapid.Permutation(snaps).Draw(t, "shuffled")
		a, b := snapset.Assemble(snaps, nil), snapset.Assemble(shuffled, nil)
		if diff := cmp.Diff(a[0].Manifest, b[0].Manifest); diff != "" {
			t.Fatalf("(-a +b):\n%s", diff)
		}
		if want := len(have) == of && len(distinct) == of; a[0].Complete != want {
			t.Fatalf("members %v of %d: complete %t", have, of, a[0].Complete)
		}
	})
}

func TestStore(t *testing.T) {
	s := snapset.Store{Dir: t.TempDir()}
	if m, err := s.Read(id); m != nil || err != nil {
		t.Fatalf("none yet: %v, %v", m, err)
	}
	want := &snapset.Manifest{ID: id, App: "ccn", Label: "a label", Created: time.Unix(1, 5).UTC(), Members: []snapset.Member{{Volume: "v"}}}
	if err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for range 2 {
		if err := s.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
}

// A manifest that cannot be understood costs detail, never a set.
func TestDamagedManifests(t *testing.T) {
	s := snapset.Store{Dir: t.TempDir()}
	if err := s.Write(&snapset.Manifest{ID: id, App: "ccn"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, "sets", "ccn", string(id)+".json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "{", "[]", "null", "7", string(whole[:len(whole)/2]), `{"id":"../../x","app":"ccn"}`, `{"id":7}`,
		`{"id":"ccn-20261121T020000.124Z","app":"ccn"}`, `{"id":"` + string(id) + `","app":"other"}`,
		`{"id":"` + string(id) + `","app":"ccn","members":{}}`, strings.Repeat(" ", 5<<20),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := s.Read(id); m != nil || err == nil {
			t.Errorf("%.40q: read as %+v", text, m)
		}
		sets := snapset.Assemble([]driver.Snapshot{member(1, 1)}, s.ReadAll([]driver.SetID{id}))
		if len(sets) != 1 || !sets[0].Complete {
			t.Errorf("%.40q: the set does not count any more: %+v", text, sets)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"id":"ccn-20261121T020000.123Z","app":"ccn","members":[{"volume":"v","taken":"2026-11-21T02:00:00Z"}]}`))
	f.Add([]byte(`{"id":"","members":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := snapset.Store{Dir: t.TempDir()}
		path := filepath.Join(s.Dir, "sets", "ccn", string(id)+".json")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := s.Read(id)
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if m != nil && (m.ID != id || m.App != "ccn") {
			t.Fatalf("accepted %+v", m)
		}
	})
}

func TestClass(t *testing.T) {
	one, three, mixed := []int{0, 0, 0}, []int{0, 1, 2}, []int{0, 0, 1}
	tests := []struct {
		in    snapset.Taking
		want  snapset.Consistency
		later snapset.OrderedBy
		early snapset.OrderedBy
	}{
		{snapset.Taking{Instants: one}, snapset.Atomic, snapset.SameTransaction, snapset.SameTransaction},
		{snapset.Taking{Instants: three, WritersHeld: true}, snapset.Frozen, snapset.WritersFrozen, snapset.WritersFrozen},
		{snapset.Taking{Instants: three, InOrder: true, Checkpoint: true}, snapset.Ordered, snapset.LaterInOrder, ""},
		{snapset.Taking{Instants: three, InOrder: true}, snapset.Crash, snapset.LaterInOrder, ""},
		{snapset.Taking{Instants: three, Checkpoint: true}, snapset.Crash, "", ""},
		{snapset.Taking{Instants: mixed, Checkpoint: true}, snapset.Crash, snapset.SameTransaction, snapset.SameTransaction},
		{snapset.Taking{Instants: mixed, WritersHeld: true}, snapset.Frozen, snapset.SameTransaction, snapset.SameTransaction},
	}
	for _, tt := range tests {
		if got := tt.in.Class(); got != tt.want {
			t.Errorf("%+v: class %s, want %s", tt.in, got, tt.want)
		}
		if got := tt.in.Proof(2, 1); got != tt.later {
			t.Errorf("%+v: proof when later %q, want %q", tt.in, got, tt.later)
		}
		if got := tt.in.Proof(1, 2); got != tt.early {
			t.Errorf("%+v: proof when earlier %q, want %q", tt.in, got, tt.early)
		}
	}
}

// A set of which a part is away is told from one that is damaged.
func TestLacks(t *testing.T) {
	whole := []driver.Snapshot{member(1, 2), member(2, 2)}
	recorded := map[driver.SetID]*snapset.Manifest{id: snapset.Assemble(whole, nil)[0].Manifest}
	damaged := member(2, 2)
	damaged.Fault = "is writable"
	unsealed := member(2, 2)
	unsealed.Sealed = false
	for name, tt := range map[string]struct {
		snaps []driver.Snapshot
		want  bool
	}{
		"whole": {whole, false}, "one is away": {whole[:1], true}, "one is damaged": {[]driver.Snapshot{whole[0], damaged}, false},
		"left over": {[]driver.Snapshot{unsealed}, false},
	} {
		if got := snapset.Assemble(slices.Clone(tt.snaps), recorded)[0].Lacks(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
