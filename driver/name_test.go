package driver_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
)

func TestSetIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`).Draw(t, "app")
		at := time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms")).UTC()
		id, err := driver.NewSetID(app, at)
		if err != nil {
			t.Fatal(err)
		}
		if id.App() != app || !id.Time().Equal(at) {
			t.Fatalf("%s: app %q time %s, want %q %s", id, id.App(), id.Time(), app, at)
		}
		back, err := driver.ParseName(id.SnapshotName())
		if err != nil || back != id {
			t.Fatalf("ParseName(%q) = %q, %v", id.SnapshotName(), back, err)
		}
	})
}

func TestParseNameRefuses(t *testing.T) {
	for _, name := range []string{
		"", "volsnap-", "ccn-20261121T020000.123Z", "volsnap-20261121T020000.123Z", "volsnap--20261121T020000.123Z",
		"volsnap-ccn-20261121T020000Z", "volsnap-ccn-20261321T020000.123Z", "volsnap-ccn-20261121T020000.123z",
		"volsnap-CCN-20261121T020000.123Z", "volsnap-../x-20261121T020000.123Z", "volsnap-a/b-20261121T020000.123Z",
		"volsnap-a\n-20261121T020000.123Z", "volsnap-ccn-20261121T020000.123Z ", "volsnap-ccn-20261121T020000.123Z\n",
		"volsnap--rf-20261121T020000.123Z", "volsnap-" + strings.Repeat("a", 33) + "-20261121T020000.123Z",
		"volsnap-ccn-20261121T020000,123Z", "autosnap_2026-11-21_02:00:00_daily",
	} {
		if id, err := driver.ParseName(name); !errors.Is(err, driver.ErrForeign) {
			t.Errorf("ParseName(%q) = %q, %v; want ErrForeign", name, id, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("volsnap-ccn-20261121T020000.123Z")
	f.Add("volsnap-a-b-20261121T020000.123Z")
	f.Fuzz(func(t *testing.T, name string) {
		id, err := driver.ParseName(name)
		if err != nil {
			return
		}
		if id.SnapshotName() != name || !driver.ValidApp(id.App()) || strings.ContainsAny(name, "/ \n@") {
			t.Fatalf("%q parsed as %q", name, id)
		}
		if again, err := driver.NewSetID(id.App(), id.Time()); err != nil || again != id {
			t.Fatalf("%q: NewSetID gives %q, %v", name, again, err)
		}
	})
}
