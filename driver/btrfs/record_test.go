package btrfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/volsnap/volsnap/driver"
)

const (
	uuidA = "0f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
	uuidB = "1f3c1a52-7c1e-4f4b-9a54-0d1e2f3a4b5c"
)

func goodRecord() record {
	return record{
		Version: 1, Set: "ccn-20261121T020000.123Z", Member: 1, Of: 2, Source: "/volumes/pg \"x\"\n/_data", SourceUUID: uuidA,
		Volumes: []driver.Volume{{Name: "pg", Path: "."}, {Name: "/srv/a b", Path: "..b/c", NotOlderThan: []string{"pg"}}},
		GUID:    uuidB, Sealed: true, Consistency: "frozen", Taken: time.Unix(1, 2).UTC(), Pins: []string{"a", "b"},
	}
}

func goodReplica() record {
	r := goodRecord()
	r.Version, r.SourceUUID, r.Base = replicaVersion, "", uuidA
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	for _, want := range []record{goodRecord(), goodReplica()} {
		text, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecordOfReplicaRefused(t *testing.T) {
	for name, spoil := range map[string]func(*record){
		"a source UUID": func(r *record) { r.SourceUUID = uuidA },
		"no GUID":       func(r *record) { r.GUID, r.Sealed = "", false },
		"a bad base":    func(r *record) { r.Base = "../x" },
		"version 3":     func(r *record) { r.Version = 3 },
	} {
		r := goodReplica()
		spoil(&r)
		if _, err := r.encode(); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, want errDamaged", name, err)
		}
	}
}

// damaged are texts that no record of the set of goodRecord has.
func damaged(t testing.TB) map[string]string {
	t.Helper()
	text, err := goodRecord().encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	swap := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the record has no %q", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	return map[string]string{
		"empty":              "",
		"not sealed":         swap(`"sealed": true`, `"sealed": false`),
		"truncated":          good[:len(good)/2],
		"all but the end":    good[:len(good)-3],
		"zeros":              string(make([]byte, 400)),
		"null":               "null",
		"an array":           "[" + good + "]",
		"two values":         good + good,
		"number for a text":  swap(`"frozen"`, `7`),
		"text for a number":  swap(`"member": 1`, `"member": "1"`),
		"text for a bool":    swap(`"sealed": true`, `"sealed": "no"`),
		"unknown field":      swap(`"sealed"`, `"x": 1, "sealed"`),
		"a replica's":        swap(`"version": 1`, `"version": 2`),
		"newer version":      swap(`"version": 1`, `"version": 3`),
		"base":               swap(`"sealed": true`, `"base": "`+uuidA+`", "sealed": true`),
		"no version":         swap(`"version": 1`, `"version": 0`),
		"member 0":           swap(`"member": 1`, `"member": 0`),
		"member 3 of 2":      swap(`"member": 1`, `"member": 3`),
		"negative":           swap(`"of": 2`, `"of": -2`),
		"huge number":        swap(`"of": 2`, `"of": 1e99`),
		"hostile set":        swap(`ccn-2026`, `../x-2026`),
		"relative source":    swap(`"/volumes`, `"volumes`),
		"source that climbs": swap(`"/volumes`, `"/../volumes`),
		"other source":       swap(`"/volumes`, `"/volumes2`),
		"no source UUID":     swap(uuidA, ""),
		"bad GUID":           swap(uuidB, "../../../etc/passwd"),
		"upper case GUID":    swap(uuidB, strings.ToUpper(uuidB)),
		"zero GUID":          swap(uuidB, "00000000-0000-0000-0000-000000000000"),
		"sealed, no GUID":    swap(uuidB, ""),
		"pin with newline":   swap(`"a"`, `"a\nb"`),
		"pins not sorted":    swap(`"a"`, `"c"`),
		"pin twice":          swap(`"a"`, `"b"`),
		"volume that climbs": swap(`..b/c`, `../c`),
		"absolute volume":    swap(`..b/c`, `/c`),
		"no volume name":     swap(`"pg"`, `""`),
		"bad time":           swap(`1970-01-01T`, `1970-13-01T`),
		"huge":               swap(`"frozen"`, `"`+strings.Repeat("x", recordLimit)+`"`),
	}
}

func TestDamagedRecords(t *testing.T) {
	dir := recordDir(t)
	name := filepath.Join(dir.Name(), goodRecord().Set.SnapshotName()+sealedExt)
	for what, text := range damaged(t) {
		t.Run(what, func(t *testing.T) {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := readRecord(dir, goodRecord().Set); !errors.Is(err, errDamaged) {
				t.Fatalf("readRecord = %+v, %v; want errDamaged", r, err)
			}
		})
	}
}

// recordDir is an open directory with the name that the good record's snapshots have.
func recordDir(t testing.TB) *os.File {
	t.Helper()
	at := filepath.Join(t.TempDir(), keyOf(goodRecord().Source))
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := openDir(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(dir) })
	return dir
}

func TestRecordFilesThatAreNone(t *testing.T) {
	text, err := goodRecord().encode()
	if err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]func(at string) error{
		"symbolic link": func(at string) error {
			return errors.Join(os.WriteFile(at+".real", text, 0o600), os.Symlink(at+".real", at))
		},
		"dangling link":    func(at string) error { return os.Symlink("/nonexistent", at) },
		"directory":        func(at string) error { return os.Mkdir(at, 0o700) },
		"another set's":    func(at string) error { return os.WriteFile(at, other(text), 0o600) },
		"device of zeroes": func(at string) error { return os.Symlink("/dev/zero", at) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := recordDir(t)
			if err := place(filepath.Join(dir.Name(), goodRecord().Set.SnapshotName()+sealedExt)); err != nil {
				t.Fatal(err)
			}
			if r, err := readRecord(dir, goodRecord().Set); !errors.Is(err, errDamaged) {
				t.Fatalf("readRecord = %+v, %v; want errDamaged", r, err)
			}
		})
	}
}

func other(text []byte) []byte {
	return []byte(strings.Replace(string(text), "020000.123Z", "020000.124Z", 1))
}

func TestManyRecordsAreWrittenWhole(t *testing.T) {
	dir := recordDir(t)
	for _, n := range []int{1, fewRecords, fewRecords + 1, 50} {
		var all []write
		for i := range n {
			r := goodRecord()
			set, err := driver.NewSetID("ccn", time.Unix(int64(i), 0))
			if err != nil {
				t.Fatal(err)
			}
			r.Set = set
			all = append(all, write{dir, r})
		}
		if err := writeRecords(dir, all); err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			got, err := readRecordFile(dir, w.Set, w.ext())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.record, got); diff != "" {
				t.Error(diff)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir.Name(), "*"+tempExt))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestJudge(t *testing.T) {
	id := func(s string) (out [16]byte) {
		n := 0
		for _, c := range strings.ReplaceAll(s, "-", "") {
			out[n/2] = out[n/2]<<4 | byte(strings.IndexRune("0123456789abcdef", c))
			n++
		}
		return out
	}
	for _, tc := range []struct {
		name        string
		guid        string
		sealed      bool
		snap        subvol
		ours, fault bool
	}{
		{"intent met", "", false, subvol{from: id(uuidA), readOnly: true}, true, false},
		{"intent, of another source", "", false, subvol{from: id(uuidB), readOnly: true}, false, false},
		{"intent, no snapshot at all", "", false, subvol{}, false, false},
		{"intent, writable", "", false, subvol{from: id(uuidA)}, true, true},
		{"sealed", uuidB, true, subvol{uuid: id(uuidB), readOnly: true}, true, false},
		{"sealed and received", uuidB, true, subvol{uuid: id(uuidA), received: id(uuidB), readOnly: true}, true, false},
		{"sealed, another UUID", uuidB, true, subvol{uuid: id(uuidA), from: id(uuidA), readOnly: true}, true, true},
		{"sealed, writable", uuidB, true, subvol{uuid: id(uuidB)}, true, true},
		{"unsealed again", uuidB, false, subvol{uuid: id(uuidB), readOnly: true}, true, false},
		{"unsealed again, another UUID", uuidB, false, subvol{uuid: id(uuidA), from: id(uuidA), readOnly: true}, false, false},
	} {
		r := record{SourceUUID: uuidA, GUID: tc.guid, Sealed: tc.sealed}
		ours, fault := r.judge(tc.snap)
		if ours != tc.ours || (fault != "") != tc.fault {
			t.Errorf("%s: ours %t, fault %q", tc.name, ours, fault)
		}
	}
	replica := record{Version: replicaVersion, GUID: uuidB}
	for _, received := range []bool{true, false} { // the source itself is no replica of it
		s := subvol{uuid: id(uuidB), readOnly: true}
		if received {
			s = subvol{uuid: id(uuidA), received: id(uuidB), readOnly: true}
		}
		if ours, fault := replica.judge(s); ours != received || fault != "" {
			t.Errorf("replica, received %t: ours %t, fault %q", received, ours, fault)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	text, err := goodRecord().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, bad := range damaged(f) {
		if len(bad) < 4096 {
			f.Add([]byte(bad))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("%v is not errDamaged", err)
			}
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseRecord(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if r.Sealed && !validUUID(r.GUID) || r.Member < 1 || strings.Contains(r.Source, "..") && filepath.Clean(r.Source) != r.Source {
			t.Fatalf("accepted %+v", r)
		}
	})
}
