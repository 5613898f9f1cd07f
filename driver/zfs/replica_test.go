package zfs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

func sampleReplica() replica {
	return replica{
		Version: replicaVersion, Set: setID, Member: 1, Of: 2, Volumes: []driver.Volume{{Name: "v \u00fc\t\"", Path: "_data", NotOlderThan: []string{"w"}}},
		Source: "tank/a b/pg", GUID: "100", Base: "99", Taken: time.Date(2026, 11, 21, 2, 0, 0, 123456789, time.UTC),
		Received: time.Date(2026, 11, 21, 3, 0, 0, 5, time.UTC),
	}
}

func TestReplicaRoundTrip(t *testing.T) {
	long := sampleReplica()
	for range 60 {
		long.Volumes = append(long.Volumes, driver.Volume{Name: strings.Repeat("project_volume ", 10), Path: "."})
	}
	for name, want := range map[string]replica{"short": sampleReplica(), "packed": long} {
		value, err := want.encode()
		if err != nil || strings.ContainsAny(value, "\t\n") || len(value) > 8191 {
			t.Fatalf("%s: %d bytes, %v", name, len(value), err)
		}
		got, err := parseReplica(value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReplicaRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*replica){
		"version": func(r *replica) { r.Version = 2 }, "set": func(r *replica) { r.Set = "../x" }, "member": func(r *replica) { r.Member = 3 },
		"source": func(r *replica) { r.Source = "-F" }, "path": func(r *replica) { r.Source = "/tank" }, "snapshot": func(r *replica) { r.Source = "tank@a" },
		"GUID": func(r *replica) { r.GUID = "0100" }, "base": func(r *replica) { r.Base = "x" }, "itself": func(r *replica) { r.Base = r.GUID },
		"volume": func(r *replica) { r.Volumes[0].Path = "../x" }, "time": func(r *replica) { r.Taken = time.Date(1e6, 1, 1, 0, 0, 0, 0, time.UTC) },
		"length": func(r *replica) { r.Volumes[0].Name = random(20_000) },
	} {
		bad := sampleReplica()
		spoil(&bad)
		if value, err := bad.encode(); err == nil {
			t.Errorf("%s: encoded as %s", name, value)
		}
	}
	good, err := sampleReplica().encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"nothing": "", "unset": "-", "two": good + good, "a key of somebody else": strings.Replace(good, `"of"`, `"by":1,"of"`, 1),
		"a later version": strings.Replace(good, `"version":1`, `"version":2`, 1), "another member": strings.Replace(good, `"member":1`, `"member":0`, 1),
	} {
		if r, err := parseReplica(value); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// random is text that does not get shorter when it is compressed.
func random(n int) string {
	var b strings.Builder
	x := uint64(1)
	for b.Len() < n {
		x = x*6364136223846793005 + 1442695040888963407
		b.WriteByte('!' + byte(x>>33%90))
	}
	return b.String()
}

func FuzzParseReplica(f *testing.F) {
	good, err := sampleReplica().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, value string) {
		r, err := parseReplica(value)
		if err != nil {
			return
		}
		text, err := r.encode()
		if err != nil {
			return // longer than it was
		}
		again, err := parseReplica(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := again.encode(); err != nil || got != text { // nothing is omitted, or an empty list
			t.Fatalf("%s is %s: %v", text, got, err)
		}
	})
}

func TestKeyOf(t *testing.T) {
	seen := map[string]string{}
	for _, source := range []string{"tank", "tank/pg", "dozer/pg", "tank/a b", "tank/a_b", "tank/...", "tank/-x", "tank/" + strings.Repeat("y", 200), "t/ "} {
		key := keyOf(source)
		if !keyPattern.MatchString(key) || len(key) > keyReadable+1+2*keySum || checkName("tank/"+key) != nil || seen[key] != "" {
			t.Errorf("%q and %q are %q", source, seen[key], key)
		}
		seen[key] = source
	}
}
