package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

// pair is a node with a target in memory.
type pair struct {
	*node
	place  *driverfake.Place
	target *replicate.Place
	down   error // of the way to the target
}

type link struct{ *replicate.Place }

func (link) Connections() int { return 0 }
func (link) Requests() int    { return 0 }

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{node: newNode(t), place: driverfake.NewPlace(t, "backup")}
	p.target = &replicate.Place{Receivers: []driver.Receiver{p.place}, Store: snapset.Store{Dir: t.TempDir()}}
	p.app.Targets = []engine.Target{{Name: "backup", Open: func(context.Context) (engine.Link, error) { return link{p.target}, p.down }}}
	return p
}

func (p *pair) restart() {
	p.storage.Restart()
	p.place.Restart()
}

// replicas are the complete sets at the target.
func (p *pair) replicas() []driver.SetID {
	p.t.Helper()
	l, err := p.target.List(p.t.Context(), "", true)
	if err != nil {
		p.t.Fatal(err)
	}
	var ids []driver.SetID
	for _, s := range l.Sets() {
		if !s.Complete {
			continue
		}
		if len(s.Snapshots) != len(p.paths) {
			p.t.Errorf("the replica of %s has %d members", s.ID, len(s.Snapshots))
		}
		ids = append(ids, s.ID)
	}
	return ids
}

// bases are the sets that are kept for the target.
func (p *pair) bases() []driver.SetID {
	p.t.Helper()
	var ids []driver.SetID
	for _, s := range p.sets() {
		if slices.Contains(s.Manifest.Bases, "backup") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// run is a run that has to succeed, after something was written.
func (p *pair) run() report.Run {
	p.t.Helper()
	p.write()
	r, err := p.Run(p.t.Context(), p.app, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *pair) write() {
	for _, path := range p.paths {
		p.storage.Write(driver.Dataset{Kind: driverfake.Kind, Name: path}, "f", p.clock.String())
	}
}

// equal compares what the replicas of a set hold with what its members do.
func (p *pair) equal(id driver.SetID) {
	p.t.Helper()
	s, err := p.Set(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := p.target.List(p.t.Context(), "", false)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range s.Snapshots {
		i := slices.IndexFunc(l.Snapshots, func(r driver.Snapshot) bool { return r.GUID == m.GUID })
		if i < 0 {
			p.t.Fatalf("%s has no replica", m.Name)
		}
		if diff := cmp.Diff(p.storage.Files(m), p.place.Files(l.Snapshots[i])); diff != "" {
			p.t.Errorf("%s (-sent +arrived):\n%s", m.Name, diff)
		}
	}
}

func TestReplicates(t *testing.T) {
	p := newPair(t)
	first := p.run()
	second := p.run()
	if r := second.Replicated[0]; len(r.Sets) != 1 || !r.Sets[0].Incremental || r.Newest != second.Set {
		t.Errorf("the second run: %+v", r)
	}
	if diff := cmp.Diff([]driver.SetID{driver.SetID(first.Set), driver.SetID(second.Set)}, p.replicas()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]driver.SetID{driver.SetID(second.Set)}, p.bases()); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	again, err := p.Replicate(t.Context(), p.app, "")
	if err != nil || len(again) != 1 || len(again[0].Sets) != 0 {
		t.Errorf("with nothing to send: %+v, %v", again, err)
	}
	p.equal(driver.SetID(second.Set))
	if _, err := p.Replicate(t.Context(), p.app, "elsewhere"); !errors.Is(err, engine.ErrNoTarget) {
		t.Errorf("%v", err)
	}
}

// I5: while a target is away its base stays, whatever the policy says; afterwards the next stream is incremental.
func TestBaseStaysWhileTheTargetIsAway(t *testing.T) {
	p := newPair(t)
	base := driver.SetID(p.run().Set)
	p.down = errors.New("no route to host")
	for range 5 {
		p.write()
		r, err := p.Run(t.Context(), p.app, "")
		if err == nil || r.Set == "" || r.Replicated[0].OK || r.Replicated[0].Error == "" || len(r.Replicated[0].Sets) != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if !p.has(base) || len(p.ids()) != 3 {
		t.Fatalf("%q; want the base %s and two", p.ids(), base)
	}
	if err := p.Delete(t.Context(), base); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("delete of the base: %v", err)
	}
	p.down = nil
	r := p.run()
	for _, s := range r.Replicated[0].Sets {
		if !s.Incremental {
			t.Errorf("%s was sent as a whole", s.ID)
		}
	}
	if p.has(base) || len(p.ids()) != 2 {
		t.Errorf("%q afterwards", p.ids())
	}
	p.sound()
	p.equal(driver.SetID(r.Set))
}

// I5, I6, I7: the process dies after each effect of either side in turn. No replica is ever visible half, what both have is
// kept, and the next run is incremental.
func TestReplicationKilledAfterEachEffect(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		points := 0
		for effect := 0; ; effect++ {
			done := false
			t.Run(fmt.Sprint(side, effect), func(t *testing.T) {
				p := newPair(t)
				first := driver.SetID(p.run().Set)
				p.write()
				switch side {
				case "source":
					p.storage.KillAt(effect)
				case "target":
					p.place.KillAt(effect)
				}
				_, err := p.Run(t.Context(), p.app, "")
				done = !p.storage.Killed() && !p.place.Killed()
				if !done && err == nil && side == "source" {
					t.Error("the run that died said that all was well")
				}
				p.restart()
				replicas := p.replicas()
				if !slices.Contains(replicas, first) {
					t.Errorf("right after the kill the target has %q, and had %s", replicas, first)
				}
				if !p.has(replicas[len(replicas)-1]) {
					t.Errorf("right after the kill there is %q here; the target's newest is %s", p.ids(), replicas[len(replicas)-1])
				}
				r := p.run()
				for _, s := range r.Replicated[0].Sets {
					if !s.Incremental {
						t.Errorf("after the kill %s was sent as a whole", s.ID)
					}
				}
				p.sound()
				if diff := cmp.Diff([]driver.SetID{driver.SetID(r.Set)}, p.bases()); diff != "" {
					t.Errorf("bases (-want +got):\n%s", diff)
				}
				p.equal(driver.SetID(r.Set))
			})
			if done || t.Failed() {
				break
			}
			points++
		}
		if points < 6 {
			t.Errorf("only %d points at the %s", points, side)
		}
		t.Logf("killed at %d points of the %s", points, side)
	}
}

// A call that fails at the target is an error of the run, and harms neither the set nor the next run.
func TestEachCallAtTheTargetFails(t *testing.T) {
	probe := newPair(t)
	probe.run()
	before := len(probe.place.Calls())
	probe.run()
	calls := probe.place.Calls()[before:]
	seen := map[string]int{}
	boom := errors.New("boom")
	for _, call := range calls {
		seen[call.Method]++
		nth := seen[call.Method]
		t.Run(fmt.Sprint(call.Method, nth), func(t *testing.T) {
			p := newPair(t)
			p.run()
			p.write()
			p.place.Fault(call.Method, nth, boom)
			r, err := p.Run(t.Context(), p.app, "")
			if !errors.Is(err, boom) || r.Set == "" || r.OK || r.Replicated[0].OK {
				t.Errorf("%+v, %v", r, err)
			}
			p.restart()
			again := p.run()
			for _, s := range again.Replicated[0].Sets {
				if !s.Incremental {
					t.Errorf("%s was sent as a whole", s.ID)
				}
			}
			p.sound()
			p.equal(driver.SetID(again.Set))
		})
	}
	if len(calls) < 6 {
		t.Errorf("only %d calls", len(calls))
	}
}

// What broke at the target goes on where it stopped, when the target keeps it.
func TestResumes(t *testing.T) {
	p := newPair(t)
	p.place.SetResume(true)
	p.run()
	p.write()
	p.storage.Write(driver.Dataset{Kind: driverfake.Kind, Name: p.paths[0]}, "large", string(make([]byte, 10_000)))
	var cut atomic.Int64
	p.app.Targets[0].Open = func(context.Context) (engine.Link, error) { return cutLink{link{p.target}, &cut}, nil }
	cut.Store(3000)
	if _, err := p.Run(t.Context(), p.app, ""); err == nil {
		t.Fatal("nothing broke")
	}
	p.restart()
	cut.Store(1 << 30)
	r, err := p.Replicate(t.Context(), p.app, "")
	if err != nil || len(r[0].Sets) != 1 || !r[0].Sets[0].Resumed || !r[0].Sets[0].Incremental {
		t.Fatalf("%+v, %v", r, err)
	}
	p.equal(driver.SetID(r[0].Sets[0].ID))
}

// A target with another history is left alone, and the error says so.
func TestDivergedTarget(t *testing.T) {
	p := newPair(t)
	p.run()
	p.storage.Restart()
	for _, s := range p.sets() { // all that both have is lost here
		for _, m := range s.Snapshots {
			if err := p.storage.Unpin(t.Context(), m, driver.Base("backup")); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := p.replicas()
	p.take()
	p.storage.Permit(old[0])
	if err := p.Delete(t.Context(), old[0]); err != nil {
		t.Fatal(err)
	}
	reports, err := p.Replicate(t.Context(), p.app, "")
	if !errors.Is(err, driver.ErrDiverged) || reports[0].OK {
		t.Errorf("%+v, %v", reports, err)
	}
	if diff := cmp.Diff(old, p.replicas()); diff != "" {
		t.Errorf("the target (-before +after):\n%s", diff)
	}
}

// cutLink breaks streams after so many bytes of all of them.
type cutLink struct {
	link
	left *atomic.Int64
}

func (c cutLink) Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	return c.link.Receive(ctx, req, &cutReader{r, c.left})
}

type cutReader struct {
	io.Reader
	left *atomic.Int64
}

func (c *cutReader) Read(b []byte) (int, error) {
	if c.left.Load() <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Reader.Read(b[:min(len(b), 64)])
	c.left.Add(-int64(n))
	return n, err
}

// Replicas are pruned by when they arrived, by the policy of the place and its floor, and the newest stays.
func TestPruneReplicas(t *testing.T) {
	p := newPair(t)
	for range 5 {
		p.run()
	}
	all := p.replicas()
	if len(all) != 5 {
		t.Fatalf("%d replicas", len(all))
	}
	now := time.Now()
	keep := engine.Replicas{Place: p.target, Keep: retention.Policy{Last: 2}, Floor: time.Hour, Zone: time.UTC, Now: func() time.Time { return now }}
	removed, err := keep.Prune(t.Context())
	if err != nil || len(removed) != 0 {
		t.Errorf("below the floor: removed %q, %v", removed, err)
	}
	now = now.Add(-2 * time.Hour)
	if removed, err := keep.Prune(t.Context()); len(removed) != 0 {
		t.Errorf("with a clock behind: removed %q, %v", removed, err)
	}
	now = now.Add(4 * time.Hour)
	for _, id := range all[:3] {
		p.place.Permit(id)
	}
	removed, err = keep.Prune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[:3], removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[3:], p.replicas()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	manifests, err := os.ReadDir(filepath.Join(p.target.Store.Dir, "sets", "app"))
	if err != nil || len(manifests) != 2 {
		t.Errorf("%d manifests, %v", len(manifests), err)
	}
	if r := p.run(); !r.Replicated[0].Sets[0].Incremental {
		t.Errorf("after the prune: %+v", r.Replicated)
	}
}

// The last replica of what a volume lay on before stays, as it does at the source: its file system may only not have been mounted.
func TestPruneKeepsTheLastOfAMovedVolume(t *testing.T) {
	p := newPair(t)
	first := driver.SetID(p.run().Set)
	old := p.paths[0]
	moved := filepath.Join(filepath.Dir(old), "moved")
	if err := errors.Join(os.Rename(old, old+".away"), os.Mkdir(moved, 0o700), os.WriteFile(filepath.Join(moved, "f"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(moved, old); err != nil {
		t.Fatal(err)
	}
	p.storage.AddDataset(moved)
	p.paths[0] = moved
	p.storage.Write(driver.Dataset{Kind: driverfake.Kind, Name: moved}, "f", "moved")
	for range 4 {
		p.run()
	}
	now := time.Now().Add(100 * time.Hour)
	there := engine.Replicas{Place: p.target, Keep: retention.Policy{Last: 1}, Zone: time.UTC, Now: func() time.Time { return now }}
	plan, err := there.PlanApp(t.Context(), "app", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range plan.Verdicts {
		if v.Set.ID == first {
			if !v.Keep {
				t.Errorf("%s would go: %q", first, v.Reasons)
			}
			return
		}
	}
	t.Errorf("%s is not among %d sets", first, len(plan.Verdicts))
}
