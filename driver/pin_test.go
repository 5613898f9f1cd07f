package driver_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/volsnap/volsnap/driver"
)

func TestGuardRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-6e10, 2.5e11).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		pin := driver.Guard(at.In(time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone"))))
		until, ok := driver.GuardUntil(pin)
		if !ok || !until.Equal(at.Truncate(time.Second)) {
			t.Fatalf("%q: %s %t, want %s", pin, until, ok, at)
		}
		if err := driver.CheckPin(pin); err != nil || !driver.OwnPin(pin) {
			t.Fatalf("%q: %v", pin, err)
		}
	})
}

// What is not exactly what Guard makes keeps its set for ever.
func TestGuardUntilRefuses(t *testing.T) {
	for _, pin := range []string{
		"", "guard", "guard until", "guard until ", "guard until tomorrow", "guard until 2026-12-05", "guard until 2026-12-05T00:00:00",
		"guard until 2026-12-05T00:00:00+00:00", "guard until 2026-12-05T01:00:00+01:00", "guard until 2026-12-05T00:00:00.5Z",
		"guard until 2026-12-05T00:00:00Z ", " guard until 2026-12-05T00:00:00Z", "Guard until 2026-12-05T00:00:00Z", "guard until 2026-02-30T00:00:00Z",
		"guard until 12026-12-05T00:00:00Z", "guard until 2026-12-05t00:00:00z", "guard until 2026-12-05T24:00:00Z",
	} {
		if until, ok := driver.GuardUntil(pin); ok {
			t.Errorf("%q is until %s", pin, until)
		}
	}
}

func TestOwnPin(t *testing.T) {
	for pin, want := range map[string]bool{
		driver.Base("x"): true, driver.Undo("app-20261121T020000.123Z"): true, driver.Guard(time.Unix(0, 0)): true, "guard until hell freezes over": true,
		"": false, "guard": false, "upgrade": false, "guarding": false, "the base of target x": false,
	} {
		if driver.OwnPin(pin) != want {
			t.Errorf("%q: %t", pin, !want)
		}
	}
}

func FuzzGuardUntil(f *testing.F) {
	f.Add("guard until 2026-12-05T00:00:00Z")
	f.Fuzz(func(t *testing.T, pin string) {
		if until, ok := driver.GuardUntil(pin); ok && driver.Guard(until) != pin {
			t.Errorf("%q is until %s, which is %q", pin, until, driver.Guard(until))
		}
	})
}
