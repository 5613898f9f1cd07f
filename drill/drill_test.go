package drill_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// A set of a server that was killed is sound. That its lock file is there is said, and is no damage.
func TestSoundSet(t *testing.T) {
	a := newApp(t, "sound", nil)
	set := a.snapshot(t)
	r, _ := a.drills(t)
	for _, c := range r.Checks {
		t.Logf("%s: %t: %s", c.Name, c.OK, c.Detail)
	}
	t.Logf("ready after %.0f ms, all of it took %.0f ms", r.ReadyMS, r.TookMS)
	if r.Set != set || !r.OK || r.ReadyMS <= 0 || r.From != "" {
		t.Errorf("%+v", r)
	}
	if d := check(r, "postgres").Detail; !strings.Contains(d, "postmaster.pid") {
		t.Errorf("the stale lock is not reported: %q", d)
	}
	var names []string
	for _, c := range r.Checks {
		names = append(names, c.Name)
	}
	want := []string{"set", "wal", "postgres", "pg_amcheck", "rows", "checksums", "content sound-files"}
	if !slices.Equal(names, want) {
		t.Errorf("checks %q, want %q", names, want)
	}
	a.clean(t)
}
