package replicatest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/snapset"
)

// makeForeign makes what volsnap must leave alone at the target: in the place, and beside it, with a name as volsnap gives it.
func (p *pair) makeForeign(t *testing.T) {
	t.Helper()
	other := filepath.Join(p.target.Top, "other")
	command(t, "btrfs", "subvolume", "create", other)
	p.fill(t, filepath.Join(other, "file"), 64<<10)
	command(t, "btrfs", "subvolume", "snapshot", "-r", other, filepath.Join(p.place(), "volsnap-"+p.app+"-20200101T000000.000Z"))
	command(t, "btrfs", "subvolume", "snapshot", "-r", other, filepath.Join(p.place(), "receiving-mine"))
	p.notes = filepath.Join(p.place(), "notes.txt")
	p.write(t, p.notes, 0o600, "mine")
	p.foreign = subvols(t, p.target.Top)
}

// before is what must not change at the target.
type before struct {
	subvols map[string]subvol
	whole   []string // the ids of the complete sets, oldest first
}

func (p *pair) look(t *testing.T) before {
	t.Helper()
	b := before{subvols: subvols(t, p.target.Top)}
	for _, s := range complete(p.there) {
		b.whole = append(b.whole, string(s.ID))
	}
	return b
}

func complete(sets []snapset.Manifest) []snapset.Manifest {
	return slices.DeleteFunc(slices.Clone(sets), func(s snapset.Manifest) bool { return !s.Complete })
}

// atTarget is what volsnap lists there. Where the target has a policy, each process that serves prunes when its client has gone,
// so it is listed again when the last one has ended.
func (p *pair) atTarget(t *testing.T) []snapset.Manifest {
	t.Helper()
	if p.way.keep == 0 {
		return p.list(t, "--target", "backup")
	}
	p.list(t, "--target", "backup")
	p.served(t)
	sets := p.list(t, "--target", "backup")
	p.served(t)
	return sets
}

// served waits until nobody serves.
func (p *pair) served(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if pids := p.serving(); len(pids) > 0 {
			return fmt.Errorf("still serving: %v", pids)
		}
		return nil
	})
}

// check is what holds at every moment, whatever happened, with what is listed at the target.
func (p *pair) check(t *testing.T, b before, listed []snapset.Manifest) {
	t.Helper()
	now := subvols(t, p.target.Top)
	there := complete(listed)
	for _, s := range there {
		p.checkWhole(t, s, now)
	}
	p.checkKept(t, b, there, now)
	if len(there) == 0 {
		return // as before, or it was said
	}
	newest := there[len(there)-1]
	p.checkBase(t, string(newest.ID))
	p.checkContent(t, newest)
	if other := there[p.chance.IntN(len(there))]; other.ID != newest.ID {
		p.checkContent(t, other)
	}
}

// checkWhole is I7 for one set.
func (p *pair) checkWhole(t *testing.T, s snapset.Manifest, now map[string]subvol) {
	t.Helper()
	want, known := p.set(string(s.ID))
	if !known || len(s.Members) != len(volumes) {
		t.Errorf("I7: set %s with %d members is listed as complete", s.ID, len(s.Members))
	}
	for _, m := range s.Members {
		got := now[m.Snapshot]
		if guid := want.members[m.Volume].guid; guid == "" || !got.ReadOnly || got.Received != guid || m.GUID != guid {
			t.Errorf("I7: %s of %s is %+v, and was sent as %q", m.Volume, s.ID, got, guid)
		}
	}
}

// checkContent is that of I7 of one set, byte for byte.
func (p *pair) checkContent(t *testing.T, s snapset.Manifest) {
	t.Helper()
	want, _ := p.set(string(s.ID))
	digests := digestsOf(t, snapshotsOf(s))
	for _, m := range s.Members {
		if digests[m.Snapshot] != want.members[m.Volume].digest {
			t.Errorf("I7: what arrived of %s of %s is not what was sent", m.Volume, s.ID)
		}
		if got := shown(t, m.Snapshot); !got.ReadOnly || got.Received != want.members[m.Volume].guid {
			t.Errorf("I7: %s of %s is shown as %+v", m.Volume, s.ID, got)
		}
	}
}

// checkKept is I6: what was at the target is there and as it was, but for what the target's own policy let go.
func (p *pair) checkKept(t *testing.T, b before, there []snapset.Manifest, now map[string]subvol) {
	t.Helper()
	stays := b.whole
	if p.way.keep > 0 {
		stays = stays[max(0, len(stays)+p.arriving()-p.way.keep):]
	}
	for _, id := range stays {
		if !slices.ContainsFunc(there, func(s snapset.Manifest) bool { return string(s.ID) == id }) {
			t.Errorf("I6: set %s is not listed as complete any more", id)
		}
	}
	want, got := maps.Clone(p.foreign), map[string]subvol{}
	for path, s := range b.subvols {
		if slices.ContainsFunc(stays, func(id string) bool { return filepath.Base(path) == "volsnap-"+id }) {
			want[path] = s
		}
	}
	for path := range want {
		got[path] = now[path]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("I6: at the target (-before +now):\n%s", diff)
	}
	if text, err := os.ReadFile(p.notes); err != nil || string(text) != "mine" {
		t.Errorf("I6: notes.txt: %q, %v", text, err)
	}
}

// arriving is at most how many sets a run brings.
func (*pair) arriving() int { return setsAtOnce }

// checkBase is I5: the source has the newest set of the target.
func (p *pair) checkBase(t *testing.T, id string) {
	t.Helper()
	sets := complete(p.list(t))
	if !slices.ContainsFunc(sets, func(s snapset.Manifest) bool { return string(s.ID) == id }) {
		t.Errorf("I5: the target's newest set %s is not at the source any more", id)
	}
	have := subvols(t, p.source.Top)
	want, _ := p.set(id)
	for volume, m := range want.members {
		if !slices.ContainsFunc(slices.Collect(maps.Values(have)), func(s subvol) bool { return s.UUID == m.guid && s.ReadOnly }) {
			t.Errorf("I5: the base %s of %s is not at the source any more", m.guid, volume)
		}
	}
}

// checkSettled is what holds once a run came to its end: the newest set is there, it alone is kept for the target, and
// nothing lies about.
func (p *pair) checkSettled(t *testing.T, there []snapset.Manifest) {
	t.Helper()
	p.checkUpToDate(t, there)
	p.checkLitter(t, there)
}

func (p *pair) checkUpToDate(t *testing.T, there []snapset.Manifest) {
	t.Helper()
	want := p.taken[len(p.taken)-1].id
	ids := map[string]bool{}
	for _, s := range there {
		ids[string(s.ID)] = true
		if !s.Complete {
			t.Errorf("I7: set %s at the target is still incomplete: %q", s.ID, s.Faults)
		}
	}
	if !ids[want] {
		t.Errorf("the newest set %s is not at the target", want)
	}
	for _, s := range p.list(t) {
		if base := slices.Contains(s.Bases, p.base()); base != (string(s.ID) == want) {
			t.Errorf("I5: set %s is a base: %t; the newest is %s", s.ID, base, want)
		}
	}
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// checkLitter is that nothing lies in the place, or among its manifests, but what belongs to sets.
func (p *pair) checkLitter(t *testing.T, there []snapset.Manifest) {
	t.Helper()
	var ids []string
	for _, s := range there {
		ids = append(ids, string(s.ID))
	}
	patterns := []string{
		filepath.Join(p.place(), "*-????????", "*"), filepath.Join(p.manifests(), "*"), filepath.Join(p.manifests(), ".*"),
	}
	before := p.bare
	p.bare = map[string]bool{}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			name := strings.TrimPrefix(filepath.Base(path), "volsnap-")
			if spool, is := strings.CutPrefix(name, "receiving-volsnap-"); is && strings.HasPrefix(spool, ids[len(ids)-1]+".") {
				continue // whoever receives next removes what was kept of a stream that arrived after all
			}
			if snapshot, is := strings.CutSuffix(path, "Z.json"); is && strings.HasPrefix(path, p.place()+"/") && missing(snapshot+"Z") && missing(snapshot+"Z.sealed.json") {
				// Of a prune that was killed when its snapshot had gone: whoever receives there next removes it (docs/design.md, section 7).
				p.bare[path] = true
				if before[path] {
					t.Errorf("a set arrived, and this record is still there: %s", path)
				}
				continue
			}
			if id, ext, _ := strings.Cut(name, "Z"); !slices.Contains(ids, id+"Z") || strings.Contains(ext, "tmp") {
				t.Errorf("left over: %s", path)
			}
		}
	}
}
