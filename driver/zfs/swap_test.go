package zfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

// TestMoves: from wherever a swap was left, in whichever direction the next one goes, both are where they belong in the end, and no
// rename finds its name taken.
func TestMoves(t *testing.T) {
	const old, next = "1", "2"
	for _, at := range [][spots]string{
		{old, next, ""}, {next, old, ""}, {"", next, old}, {next, "", old}, {"", old, next}, {old, "", next}, {old, "", ""}, {"", old, ""}, {"", "", old},
	} {
		for _, want := range []string{old, next} {
			steps, err := moves(at, want)
			if strings.Join(at[:], "") == old && want == next {
				if !errors.Is(err, driver.ErrForeign) {
					t.Errorf("%q, want %s: %v", at, want, err)
				}
				continue
			}
			now := at
			for _, step := range steps {
				if now[step[0]] == "" || now[step[1]] != "" {
					t.Errorf("%q, want %s: %v", at, want, steps)
				}
				now[step[1]], now[step[0]] = now[step[0]], ""
			}
			if err != nil || now[inPlace] != want || now[between] != "" {
				t.Errorf("%q, want %s: %v, %v: %q", at, want, steps, err, now)
			}
		}
	}
	for _, at := range [][spots]string{{}, {old, next, "3"}, {old, "3", ""}} {
		if steps, err := moves(at, next); !errors.Is(err, driver.ErrForeign) {
			t.Errorf("%q: %v, %v", at, steps, err)
		}
	}
	if steps, err := moves([spots]string{"", "", ""}, ""); !errors.Is(err, driver.ErrForeign) {
		t.Errorf("no GUID: %v, %v", steps, err)
	}
}

func TestSideOf(t *testing.T) {
	ds := "tank/a b/pg"
	stage := stageOf(ds, "restore-1")
	mark := sideMark(stage, ds)
	line := lineOf(ds, "100")
	for name, want := range map[string]string{stage: ds, thirdOf(stage): ds, line: ds, strings.Replace(stage, "a b", "moved", 1): "tank/moved/pg"} {
		if got, is := sideOf(name, mark); !is || got != want {
			t.Errorf("%q: %q, %t", name, got, is)
		}
		if got := couldBeBeside(name, ds); got != (want == ds) {
			t.Errorf("%q beside %q: %t", name, ds, got)
		}
	}
	for _, name := range []string{ds, stage + "/child", "tank/a b/" + stagePrefix + "x-01234567", "tank/a b/settled", thirdPrefix, "tank", stage + "x"} {
		if got, is := sideOf(name, mark); is {
			t.Errorf("%q is at the side of %q", name, got)
		}
	}
	for _, bad := range []string{"", "1", "1//", "2" + mark[1:], mark + "/x", "yes"} {
		if got, is := sideOf(stage, bad); is {
			t.Errorf("by %q: %q", bad, got)
		}
	}
	if got, is := sideOf(stageOf("tank", "x"), sideMark(stageOf("tank", "x"), "tank")); !is || got != "tank" {
		t.Errorf("of a pool: %q, %t", got, is)
	}
}

// TestLines: what a restore has left of a dataset is listed as its own, with what it came out of.
func TestLines(t *testing.T) {
	const ds = "tank/pg"
	one := lineOf(ds, "1")
	dataset := func(name, guid, origin, mark string) []string {
		f := line(name, guid, "-", "-")
		f[5], f[7] = origin, mark
		return f
	}
	snapshot := func(name, guid, txg string) []string {
		f := line(name, guid, "-", "-")
		f[2] = txg
		return f
	}
	mark := sideMark(stageOf(ds, "x"), ds)
	tab := newTable()
	for _, f := range [][]string{
		dataset(one, "1", ds+"@two", mark), snapshot(one+"@three", "103", "30"), dataset(ds, "2", "-", "-"), snapshot(ds+"@one", "101", "10"),
		snapshot(ds+"@two", "102", "20"), snapshot(ds+"@four", "104", "40"), dataset("tank/clone", "9", ds+"@two", "-"), snapshot("tank/clone@x", "109", "50"),
	} {
		if err := tab.add(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		dataset string
		txg     uint64
		home    string
		want    []driver.Line
	}{
		{one, 30, ds, []driver.Line{{ID: "volsnap-line-" + short(ds, "1"), Order: 30}, {Order: 20}}},
		{ds, 40, ds, nil},
		{"tank/clone", 50, "tank/clone", nil},
	} {
		r := row{dataset: tc.dataset, txg: tc.txg}
		if diff := cmp.Diff(tc.want, tab.lines(r)); diff != "" || tab.home(tc.dataset) != tc.home {
			t.Errorf("%s is of %s: %s", tc.dataset, tab.home(tc.dataset), diff)
		}
	}
	for guid, want := range map[string]bool{"1": true, "2": true, "9": false} {
		if got := tab.isOf(guid, row{dataset: ds}); got != want {
			t.Errorf("that %s was in the place of %s is %t", guid, ds, got)
		}
	}
}

func TestSettings(t *testing.T) {
	was := settings{"compression": "lz4", mountPoint: "/srv/pg", "quota": "1024", "com.sun:auto": "yes"}
	have := settings{"compression": "off", mountPoint: "none", canMount: noAuto, "exec": "off", "refquota": "5", "com.sun:auto": "yes"}
	set, back := was.from(have)
	if diff := cmp.Diff([steps][]string{{"compression=lz4"}, {"mountpoint=/srv/pg"}, {"quota=1024"}}, set); diff != "" {
		t.Error(diff)
	}
	want := [][]string{{"zfs", "inherit", "-S", canMount}, {"zfs", "inherit", "exec"}, {"zfs", "set", "refquota=none"}}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
}

// TestSettingsThatWereTakenBack: `zfs get -p` has 0 for a quota of none, and `zfs set` does not take that.
func TestSettingsThatWereTakenBack(t *testing.T) {
	back := settings{"quota": "0", "refquota": "0", "reservation": "0", "refreservation": "0", "copies": "0", "snapshot_limit": "0"}
	for _, tc := range []struct {
		name       string
		want, have settings
		set        [steps][]string
		back       int
	}{
		{
			"on what never had one", back,
			settings{},
			[steps][]string{{"copies=0", "snapshot_limit=0"}, nil, {"quota=none", "refquota=none", "reservation=none", "refreservation=none"}},
			0,
		},
		{"on what has it", back, back, [steps][]string{}, 0},
		{"where it is none by name", settings{"quota": "none"}, settings{"quota": "0"}, [steps][]string{}, 0},
		{"on what has another", settings{"quota": "0"}, settings{"quota": "5"}, [steps][]string{ofRoom: {"quota=none"}}, 0},
		{"where it was never set", settings{}, settings{"quota": "0", "refquota": "5"}, [steps][]string{}, 1},
	} {
		set, taken := tc.want.from(tc.have)
		if diff := cmp.Diff(tc.set, set); diff != "" || len(taken) != tc.back {
			t.Errorf("%s: taken back: %q: %s", tc.name, taken, diff)
		}
	}
}

// TestGrants: what `zfs allow` prints of a file system itself, as the commands that give it.
func TestGrants(t *testing.T) {
	const out = `---- Permissions on tank/a b- ----------------------------------------
Permission sets:
	@two clone,@one
	@one hold
Create time permissions:
	destroy,mount
Local permissions:
	user ann clone
	user (unknown: 1234) @two,mount
Descendent permissions:
	group domain users send
Local+Descendent permissions:
	user ann hold,snapshot
	everyone diff
	user a,b hold
---- Permissions on tank ---------------------------------------------
Local+Descendent permissions:
	user root create
`
	const ds = "tank/a b-"
	var got []string
	grantsIn(out, func(at string, g grant) {
		if at != ds {
			return
		}
		argv, err := g.command("allow", ds)
		if err != nil {
			argv = []string{"none"}
		}
		got = append(got, strings.Join(argv, "|"))
	})
	want := []string{
		"zfs|allow|-s|@two|clone,@one|" + ds, "zfs|allow|-s|@one|hold|" + ds, "zfs|allow|-c|destroy,mount|" + ds, "zfs|allow|-l|-u|ann|clone|" + ds,
		"zfs|allow|-l|-u|1234|@two,mount|" + ds, "zfs|allow|-d|-g|domain users|send|" + ds, "zfs|allow|-l|-d|-u|ann|hold,snapshot|" + ds,
		"zfs|allow|-l|-d|-e|diff|" + ds, "none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []grant{
		{},
		{"Local permissions:", "user", "x"},
		{"Local permissions:", "user -x", "x"},
		{"Local permissions:", "@s", "x"},
		{"Permission sets:", "@a b", "x"},
		{"Create time permissions:", "user x", ""},
		{"Other permissions:", "user x", "x"},
	} {
		if argv, err := bad.command("allow", ds); err == nil {
			t.Errorf("%+v: %q", bad, argv)
		}
	}
}

func TestOwed(t *testing.T) {
	have := settings{"quota": "0", "reservation": "5", "exec": "off"}
	for text, want := range map[string]settings{
		"": have, "x": have, "[]": have, `{"setuid":"on","quota":"-F","refquota":"none"}`: have,
		`{"quota":"7","refquota":"8","reservation":"9"}`: {"quota": "7", "refquota": "8", "reservation": "5", "exec": "off"},
	} {
		if diff := cmp.Diff(want, have.withOwed(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	good := where{Version: placeVersion, Of: "12", Settings: settings{"a:b": "c\n\td"}, Mount: &point{At: "/a b", Options: []string{"rw", "nosuid"}}}
	text, err := good.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(`{"version":1,"settings":{"-r":"x"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := parsePlace(text)
		if err != nil {
			return
		}
		for prop := range w.Settings {
			if prop == "" || prop[0] == '-' || strings.ContainsAny(prop, "= ") {
				t.Errorf("accepted %q", prop)
			}
		}
		again, err := w.encode()
		if err != nil {
			return
		}
		if same, err := parsePlace(again); err != nil || !cmp.Equal(w, same) {
			t.Errorf("%q: %+v, %v", text, same, err)
		}
	})
}
