package zfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

// allowText is what `zfs allow` of 2.3 printed.
const allowText = `---- Permissions on exp/f f-g ----------------------------------------
Local+Descendent permissions:
	group wheel release
	everyone clone
---- Permissions on exp ----------------------------------------------
Permission sets:
	@more mount
	@set destroy,@more
Create time permissions:
	create
Local permissions:
	user alice @set
Descendent permissions:
	user (unknown: 4242) send
	user bob @set
	user alice hold,mount
Local+Descendent permissions:
	user bob hold,snapshot,userprop
`

func TestRights(t *testing.T) {
	for _, tc := range []struct {
		user, group, dataset string
		want                 []string
	}{
		{"bob", "wheel", "exp/f f-g", []string{}},
		{"bob", "", "exp/f f-g", []string{"release"}},
		{"alice", "", "exp/f f-g", []string{"destroy", "release", "snapshot", "userprop"}},
		{"alice", "wheel", "exp", []string{"hold", "snapshot", "userprop"}}, // as if asked of exp, below which no more is printed
		{"carol", "", "exp/f f-g", []string{"destroy", "hold", "mount", "release", "snapshot", "userprop"}},
	} {
		a := allowed{user: tc.user, groups: map[string]bool{tc.group: true}}
		if diff := cmp.Diff(tc.want, a.lacks(tc.dataset, allowText, needed)); diff != "" {
			t.Errorf("%s in %q on %s: %s", tc.user, tc.group, tc.dataset, diff)
		}
	}
}

func TestMismatch(t *testing.T) {
	for text, want := range map[string]int{
		"zfs-2.3.2-2~bpo12+2\nzfs-kmod-2.3.2-1\n":  0,
		"zfs-2.3.2-2~bpo12+2\nzfs-kmod-2.1.11-1\n": 1,
		"zfs-2.3.2\n": 0,
		"":            0,
	} {
		if got := mismatch(text); len(got) != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestPoolFindings(t *testing.T) {
	for _, tc := range []struct {
		pool  pool
		level driver.Level
		say   string
	}{
		{pool{"a b", "ONLINE", false}, "", ""},
		{pool{"a b", "ONLINE", true}, driver.Error, "read-only"},
		{pool{"a b", "DEGRADED", false}, driver.Warning, "degraded"},
		{pool{"a b", "SUSPENDED", false}, driver.Error, "suspended"},
		{pool{"a b", "FAULTED", false}, driver.Error, "FAULTED"},
	} {
		got := tc.pool.findings()
		if tc.say == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].Level != tc.level || !strings.Contains(got[0].What, tc.say) || got[0].Mend == "" {
			t.Errorf("%+v: %+v", tc.pool, got)
		}
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"tank": true, "tank/a b/c.d:e_f-": true, "tank/-x": true, "": false, "/": false, "/tank": false, "tank/": false, "tank//a": false,
		"-r": false, "tank@x": false, "tank/a,b": false, "tank/a%b": false, "tank/a\nb": false, "tank/a\n": false, "tank#x": false,
		"tank/" + strings.Repeat("x", 250): true, "tank/" + strings.Repeat("x", 251): false,
	} {
		if err := checkName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestMeaning(t *testing.T) {
	for stderr, want := range map[string]bool{
		"cannot open 'tank/a b@x': dataset does not exist\n":                                 true,
		"cannot open 'a': dataset does not exist\ncannot open 'b': dataset does not exist\n": true,
		"cannot open 'a': dataset does not exist\ncannot open 'b': I/O error\n":              false,
		"cannot open 'a@x': dataset does not exist\nno datasets available\n":                 true,
		"cannot open 'a@x': pool I/O is currently suspended\n":                               false,
		"": false,
	} {
		if got := onlyMissing(exit1, stderr); got != want {
			t.Errorf("%q: %t", stderr, got)
		}
	}
}
