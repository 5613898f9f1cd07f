package engine

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEntryNames(t *testing.T) {
	for _, tc := range []struct {
		name          string
		volumes, want []string
	}{
		{"Docker volumes have their own", []string{"pyaleph_pyaleph-ipfs", "a.b"}, []string{"pyaleph_pyaleph-ipfs", "a.b"}},
		{"a path is readable", []string{"/srv/pyaleph/keys", "/srv/a b/größe"}, []string{"srv-pyaleph-keys", "srv-a b-größe"}},
		{"a volume comes before a path", []string{"/srv/keys", "srv-keys", "/srv-keys"}, []string{"srv-keys~2", "srv-keys", "srv-keys~3"}},
		{"strange bytes", []string{"/a\n\x1b[2J", "/\xff", "/\u202ex"}, []string{"a__[2J", "_", "_x"}},
		{"no option, not hidden", []string{"-rf", "/.hidden", "/..", "~root", "/", ""}, []string{"_-rf", "_.hidden", "_..", "_~root", "_", "_~2"}},
		{"long", []string{"/" + strings.Repeat("ä", 200)}, []string{strings.Repeat("ä", 100)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, entryNames(tc.volumes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEntryNamesAreSafe: whatever a sender calls its volumes.
func TestEntryNamesAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		volume := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a", "/a", "a~2", "/a~2", "..", ".volsnap", "/.volsnap", "a/b", "a-b"}))
		volumes := rapid.SliceOfN(volume, 0, 12).Draw(t, "volumes")
		seen := map[string]bool{}
		for i, name := range entryNames(volumes) {
			if name == "" || len(name) > 255 || filepath.Base(name) != name || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") ||
				strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) || seen[name] {
				t.Fatalf("%q is shown as %q", volumes[i], name)
			}
			seen[name] = true
		}
	})
}
