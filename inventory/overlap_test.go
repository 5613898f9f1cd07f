package inventory

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"/srv/a", "/srv/a", true},
		{"/srv/a", "/srv/a/b", true},
		{"/srv/a", "/srv/ab", false},
		{"/srv/a b", "/srv/a", false},
		{"/", "/srv", true},
		{"/", "/", true},
		{"/srv/a/_data", "/srv/b/_data", false},
	} {
		if got := overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("overlap(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

// The same by elements instead of by letters.
func TestOverlapIsAPrefixOfElements(t *testing.T) {
	path := rapid.Custom(func(t *rapid.T) string {
		return filepath.Join("/", filepath.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "ab", "a b", "..", "-", "ä"}), 0, 4).Draw(t, "elements")...))
	})
	elements := func(p string) []string {
		return slices.DeleteFunc(strings.Split(p, "/"), func(e string) bool { return e == "" })
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := path.Draw(t, "a"), path.Draw(t, "b")
		ea, eb := elements(a), elements(b)
		n := min(len(ea), len(eb))
		want := slices.Equal(ea[:n], eb[:n])
		if got := overlap(a, b); got != want || overlap(b, a) != want || !overlap(a, a) {
			t.Fatalf("overlap(%q, %q) = %v, want %v", a, b, got, want)
		}
	})
}

func TestNear(t *testing.T) {
	all := []string{"pyaleph_pyaleph-postgres", "pyaleph_pyaleph-ipfs", "pyaleph-postgres-1", "other", "x"}
	for name, want := range map[string][]string{
		"pyaleph-postgres":         {"pyaleph-postgres-1", "pyaleph_pyaleph-postgres"},
		"pyaleph_postgres_1":       {"pyaleph-postgres-1"},
		"pyaleph_pyaleph-ipsf":     {"pyaleph_pyaleph-ipfs"},
		"PYALEPH_PYALEPH-IPFS":     {"pyaleph_pyaleph-ipfs"},
		"otter":                    {"other"},
		"nothing like it":          nil,
		strings.Repeat("long", 99): nil,
	} {
		if diff := cmp.Diff(want, near(name, all), cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
			t.Errorf("near(%q): %s", name, diff)
		}
	}
}
