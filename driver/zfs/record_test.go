package zfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

const setID = driver.SetID("ccn-20261121T020000.123Z")

func sampleRecord(items int) record {
	r := record{Version: recordVersion, Set: setID, Of: items}
	for k := 1; k <= items; k++ {
		r.Items = append(r.Items, item{Member: k, Dataset: strconv.FormatUint(uint64(k)*7919*1e12+uint64(k), 10), Volumes: []driver.Volume{
			{Name: fmt.Sprintf("project_volume-%d \u00fc\t\"'", k), Path: "_data", NotOlderThan: []string{"a=b,c"}},
		}})
	}
	return r
}

// valueOf is what a listing shows of the options of `zfs snapshot`.
func valueOf(t *testing.T, args []string) string {
	t.Helper()
	whole := ""
	for i, arg := range args {
		if i%2 == 0 {
			continue
		}
		prop, value, _ := strings.Cut(arg, "=")
		if prop != recordProps()[i/2] || value == "" || len(value) > 8191 || strings.ContainsAny(value, "\t\n") {
			t.Errorf("option %s of %d bytes", prop, len(value))
		}
		whole += value
	}
	return whole
}

func TestRecordRoundTrip(t *testing.T) {
	for _, items := range []int{1, 2, 50, 400} {
		want := sampleRecord(items)
		args, err := want.options()
		if err != nil {
			t.Fatal(err)
		}
		value := valueOf(t, args)
		t.Logf("%d items: %d bytes in %d properties", items, len(value), len(args)/2)
		got, err := parseRecord(value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecordThatIsTooLong(t *testing.T) {
	r := sampleRecord(20000)
	if args, err := r.options(); err == nil {
		t.Errorf("%d options", len(args))
	}
}

func TestRecordRefuses(t *testing.T) {
	good, err := sampleRecord(2).encode()
	if err != nil {
		t.Fatal(err)
	}
	bomb := "z:7cExAQAAAMKg9U9tCF8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // no end of block
	for name, value := range map[string]string{
		"nothing": "", "unset": "-", "no JSON": "x", "cut off": good[:len(good)-1], "two values": good + good,
		"a key of somebody else": strings.Replace(good, `"of"`, `"by":1,"of"`, 1),
		"a later version":        strings.Replace(good, `"version":1`, `"version":2`, 1),
		"a bad set":              strings.Replace(good, string(setID), "../x", 1),
		"a member twice":         strings.Replace(good, `"member":2`, `"member":1`, 1),
		"a member too many":      strings.Replace(good, `"member":2`, `"member":3`, 1),
		"no GUID":                strings.Replace(good, `"dataset":"`, `"dataset":"x`, 1),
		"a path that leaves":     strings.Replace(good, `"path":"_data"`, `"path":"../x"`, 1),
		"a path from the root":   strings.Replace(good, `"path":"_data"`, `"path":"/x"`, 1),
		"no items":               `{"version":1,"set":"ccn-20261121T020000.123Z","of":2,"items":[]}`,
		"bad base64":             "z:*", "bad deflate": bomb,
	} {
		if r, err := parseRecord(value); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestMarkRoundTrip(t *testing.T) {
	want := mark{class: "frozen", taken: time.Unix(1795226400, 123456789), members: map[string]int{"12": 1, "18446744073709551615": 2}}
	got, err := parseMark(want.encode([]string{"12", "18446744073709551615"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mark{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		"", "-", "1", "1 frozen 1", "2 frozen 1 1:12", "1 Frozen 1 1:12", "1 frozen x 1:12", "1 frozen 1 0:12", "1 frozen 1 1:0",
		"1 frozen 1 1:012", "1 frozen 1 1:12 2:12", "1 frozen 1 1:12 ", "1 frozen 1 1", "1 frozen 1 1:18446744073709551616",
		"1 frozen 1" + strings.Repeat(" 1:12", 65),
	} {
		if m, err := parseMark(bad); err == nil {
			t.Errorf("%q is %+v", bad, m)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, items := range []int{1, 30} {
		good, err := sampleRecord(items).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r, err := parseRecord(value)
		if err != nil {
			return
		}
		text, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRecord(text)
		if err != nil || cmp.Diff(r, again) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(r, again))
		}
	})
}
