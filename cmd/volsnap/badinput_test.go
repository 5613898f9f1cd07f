package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answer is how bad input may be answered. In every case nothing is changed.
type answer int

const (
	refused   answer = iota // exit status 2, or 1 where what is damaged was found only by looking
	tolerated               // exit status 0: what is damaged costs detail, and that is said
)

// bad is one case of bad input.
type bad struct {
	name   string
	damage func(t *testing.T, h *badHost) // what is wrong on the host; nil if nothing is
	args   []string                       // h.fill fills them in
	stdin  string
	status int
	says   string // what stdout or stderr says, filled in too
	answer answer
}

// badHost is a host with an app of two volumes and two complete sets.
type badHost struct {
	mnt, work, state, run, config string
	app, old, newest              string
	before                        string // subvolumes
}

// TestBadInput is invariant I10: bad input does nothing.
func TestBadInput(t *testing.T) {
	h := newBadHost(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(h.work, "no.sock"))
	t.Setenv("VOLSNAP_CONFIG", h.config)
	t.Setenv("TZ", "UTC")
	var all []bad
	for _, cases := range [][]bad{
		badArguments(), badValues(), badSetIDs(), badConfigurations(), badManifests(), badRecords(), badJournals(), badPlaces(),
	} {
		all = append(all, cases...)
	}
	count := map[answer]int{}
	seen := map[string]bool{}
	for _, tc := range all {
		if seen[tc.name] {
			t.Errorf("two cases are called %q", tc.name)
		}
		seen[tc.name] = true
		count[tc.answer]++
		t.Run(tc.name, func(t *testing.T) { h.try(t, tc) })
	}
	t.Logf("%d cases of bad input: %d refused, %d tolerated, nothing changed by any", len(all), count[refused], count[tolerated])
	if count[refused] < 90 {
		t.Errorf("only %d cases are refused", count[refused])
	}
}

func newBadHost(t *testing.T) *badHost {
	t.Helper()
	h := &badHost{mnt: btrfsOrSkip(t, "pg", "ipfs"), work: t.TempDir(), app: newApp()}
	h.state, h.run, h.config = filepath.Join(h.work, "state"), filepath.Join(h.work, "run"), filepath.Join(h.work, "volsnap.yaml")
	h.write(t, h.config, goodConfiguration)
	if err := os.Mkdir(h.run, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, when := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)} {
		id, err := takeSet(h.app, when, filepath.Join(h.mnt, "pg"), filepath.Join(h.mnt, "ipfs"))
		if err != nil {
			t.Fatal(err)
		}
		if h.newest = string(id); i == 0 {
			h.old = string(id)
		}
		h.write(t, h.manifest(string(id)), `{"id":"`+string(id)+`","app":"`+h.app+`","label":"good","containers":[],"checkpoints":[]}`)
	}
	h.before = h.subvolumes(t)
	return h
}

const goodConfiguration = `version: 1
state_dir: $STATE
run_dir: $RUN
apps:
  $APP:
    volumes: [{path: $MNT/pg}, {path: $MNT/ipfs}]
    freeze: {steps: []}
    keep: {last: 1}
`

// fill fills in $NAMES.
func (h *badHost) fill(s string) string {
	return os.Expand(s, func(name string) string {
		return map[string]string{
			"APP": h.app, "OLD": h.old, "NEW": h.newest, "STATE": h.state, "RUN": h.run, "MNT": h.mnt, "WORK": h.work,
		}[name]
	})
}

func (h *badHost) manifest(id string) string {
	return filepath.Join(h.state, "sets", h.app, id+".json")
}

// record is the file that seals a snapshot of the older set.
func (h *badHost) record(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.mnt, ".volsnap", "pg-*", "volsnap-"+h.old+".sealed.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("records: %q, %v", found, err)
	}
	return found[0]
}

func (h *badHost) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(h.fill(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// try does the damage, runs the program, and looks at all that it could have changed.
func (h *badHost) try(t *testing.T, tc bad) {
	if tc.damage != nil {
		good := save(t, h.work, h.record(t))
		defer good.restore(t)
		tc.damage(t, h)
	}
	before := h.files(t)
	var args []string
	for _, a := range tc.args {
		args = append(args, h.fill(a))
	}
	got := invoke(tc.stdin, args...)
	if diff := cmp.Diff(before+h.before, h.files(t)+h.subvolumes(t)); diff != "" {
		t.Errorf("changed by %q:\n%s", args, diff)
	}
	if got.status != tc.status || (got.status == 0) != (tc.answer == tolerated) {
		t.Errorf("%q: exit status %d, want %d", args, got.status, tc.status)
	}
	if tc.status != 0 && !strings.HasPrefix(got.stderr, "volsnap: ") && got.stdout == "" {
		t.Errorf("%q says nothing: %q", args, got.stderr)
	}
	if want := h.fill(tc.says); !strings.Contains(got.stdout+got.stderr, want) || want == "" {
		t.Errorf("%q: want %q in\n%s%s", args, want, got.stdout, got.stderr)
	}
	for _, out := range []string{got.stdout, got.stderr} {
		if plain := text(strings.ReplaceAll(out, "\n", "")); plain != strings.ReplaceAll(out, "\n", "") {
			t.Errorf("%q writes control characters: %q", args, out)
		}
	}
	if t.Failed() {
		t.Logf("stdout: %s\nstderr: %s", got.stdout, got.stderr)
	}
}

func (h *badHost) files(t *testing.T) string {
	t.Helper()
	seen, err := listing(h.mnt, h.work)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func (h *badHost) subvolumes(t *testing.T) string {
	t.Helper()
	seen, err := subvolumes(h.mnt)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// with makes a case of each of the values, in the place of %s.
func with(values map[string]string, name string, status int, says string, args ...string) []bad {
	var cases []bad
	for what, value := range values {
		line := append([]string{}, args...)
		for i := range line {
			line[i] = strings.ReplaceAll(line[i], "%s", value)
		}
		cases = append(cases, bad{name: fmt.Sprintf("%s: %s", name, what), args: line, status: status, says: says})
	}
	return cases
}
