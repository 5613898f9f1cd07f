package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// puller is a backup server that fetches the sets of a node over a connection.
type puller struct {
	*pair
	server *engine.Engine
	app    engine.App // at the server
	origin *replicate.Origin
	down   error // of the way to the node
}

func newPuller(t *testing.T) *puller {
	t.Helper()
	p := &puller{pair: newPair(t)}
	p.node.app.Targets = nil
	p.origin = &replicate.Origin{Sources: []replicate.OriginSource{p.storage}, Store: p.Store, Apps: []string{"app"}, Client: "server"}
	far := transporttest.Connect(t, transport.Served{Origin: p.origin}).Origin()
	p.app = engine.App{
		Name: "app", Keep: retention.Policy{Last: 2},
		Origin: func(context.Context) (engine.Fetched, error) { return far, p.down },
		Targets: []engine.Target{{
			Name: "disk", Open: func(context.Context) (engine.Link, error) { return link{p.target}, nil },
			Here: func() (engine.Replicas, error) {
				return engine.Replicas{Place: p.target, Floor: time.Hour, Zone: time.UTC, Now: p.Now}, nil
			},
		}},
	}
	p.server = &engine.Engine{Store: snapset.Store{Dir: t.TempDir()}, RunDir: t.TempDir(), Zone: time.UTC, Now: p.Now}
	return p
}

// fetch is a run at the server that has to succeed.
func (p *puller) fetch() []string {
	p.t.Helper()
	r, err := p.server.Run(p.t.Context(), p.app, "")
	if err != nil || !r.OK || r.Set != "" {
		p.t.Fatalf("%+v, %v", r, err)
	}
	var ids []string
	for _, s := range r.Replicated[0].Sets {
		ids = append(ids, s.ID)
	}
	return ids
}

// basesAt are the sets that the node keeps for the server.
func (p *puller) basesAt() []driver.SetID {
	var ids []driver.SetID
	for _, s := range p.sets() {
		if slices.Contains(s.Manifest.Bases, "server/disk") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// What is fetched is as what is sent: whole, incremental, and with its base kept where it was taken, whatever the policy there.
func TestFetches(t *testing.T) {
	p := newPuller(t)
	first := p.take()
	if got := p.fetch(); len(got) != 1 || got[0] != string(first) {
		t.Fatalf("fetched %q", got)
	}
	for range 4 { // the base is older than what the node's policy keeps
		p.run()
	}
	if !p.has(first) {
		t.Fatal("the base was pruned")
	}
	newest := p.ids()[len(p.ids())-1]
	r, err := p.server.Replicate(t.Context(), p.app, "")
	if err != nil || len(r) != 1 || len(r[0].Sets) != 2 || !r[0].Sets[0].Incremental || !r[0].Sets[1].Incremental || r[0].Newest != string(newest) {
		t.Fatalf("%+v, %v", r, err)
	}
	p.equal(newest)
	if diff := cmp.Diff([]driver.SetID{newest}, p.basesAt()); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	if got := p.fetch(); len(got) != 0 {
		t.Errorf("fetched again: %q", got)
	}
	if _, err := p.server.Snapshot(t.Context(), p.app, engine.TakeOptions{}); !errors.Is(err, engine.ErrFetched) {
		t.Errorf("a set of it here: %v", err)
	}
	p.down = errors.New("no route to host")
	if r, err := p.server.Run(t.Context(), p.app, ""); err == nil || r.OK || r.Replicated[0].OK {
		t.Errorf("without the node: %+v, %v", r, err)
	}
	for _, q := range must(p.server.Check(t.Context(), p.app)) {
		if q.Level == driver.Error && q.About == "app" {
			return
		}
	}
	t.Error("check does not say that the node is away")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// I5: either side dies after each effect in turn; the next fetch is incremental, and nothing is visible half.
func TestFetchKilledAfterEachEffect(t *testing.T) {
	for _, side := range []string{"node", "server"} {
		points := 0
		for effect := 0; ; effect++ {
			p := newPuller(t)
			p.take()
			p.fetch()
			p.write()
			p.take()
			if side == "node" {
				p.storage.KillAt(effect)
			} else {
				p.place.KillAt(effect)
			}
			_, _ = p.server.Run(t.Context(), p.app, "") // judged by what comes after it
			if !p.storage.Killed() && !p.place.Killed() {
				break
			}
			p.restart()
			p.replicas() // finds no half ones
			for range 3 {
				p.run() // with prunes
			}
			r, err := p.server.Replicate(t.Context(), p.app, "")
			if err != nil {
				t.Fatalf("%s, effect %d: %v", side, effect, err)
			}
			for _, s := range r[0].Sets {
				if !s.Incremental {
					t.Errorf("%s, effect %d: %s was sent as a whole", side, effect, s.ID)
				}
			}
			points++
		}
		if points < 4 {
			t.Errorf("only %d points at the %s", points, side)
		}
	}
}

// A server can keep no more than bases, in its own name, of the apps that it was granted.
func TestWhatAServerMayKeep(t *testing.T) {
	p := newPuller(t)
	p.node.app.Keep = retention.Policy{}
	for range 12 {
		p.take()
	}
	host, err := p.app.Origin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	src := host.Source(p.storage.Kind())
	sets := p.sets()
	m := sets[0].Snapshots[0]
	for name, reason := range map[string]string{
		"an operator's": "before the upgrade", "a target's": driver.Base("backup"), "another server's": driver.Base("server2/disk"), "none": "",
	} {
		if err := src.Pin(t.Context(), m, reason); !errors.Is(err, replicate.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
		if err := src.Unpin(t.Context(), m, reason); !errors.Is(err, replicate.ErrForbidden) {
			t.Errorf("%s is taken back: %v", name, err)
		}
	}
	kept := 0
	for _, s := range sets {
		switch err := src.Pin(t.Context(), s.Snapshots[0], driver.Base("server/disk")); {
		case err == nil:
			kept++
		case !errors.Is(err, replicate.ErrForbidden):
			t.Error(err)
		}
	}
	if kept != 8 {
		t.Errorf("%d were kept", kept)
	}
	p.origin.Apps = []string{"other"}
	if _, err := host.List(t.Context(), "app"); !errors.Is(err, replicate.ErrForbidden) {
		t.Errorf("a listing of what was not granted: %v", err)
	}
	for what, err := range map[string]error{
		"pin":   src.Pin(t.Context(), m, driver.Base("server/disk")),
		"unpin": src.Unpin(t.Context(), m, driver.Base("server/disk")),
		"send":  src.Send(t.Context(), driver.SendRequest{Snapshot: m}, discard{}),
	} {
		if !errors.Is(err, replicate.ErrForbidden) {
			t.Errorf("%s of what was not granted: %v", what, err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// What has arrived in part stays here as a base, since where replicas are one line nothing else can be one; and what was to be sent
// and never arrived does not pile up.
func TestWhatHasArrivedInPartStays(t *testing.T) {
	p := newPair(t)
	p.app.Targets[0].SkipIntermediate = true
	p.down = errors.New("no route to host")
	for range 4 {
		p.write()
		if r, err := p.Run(t.Context(), p.app, ""); err == nil {
			t.Fatalf("%+v", r)
		}
	}
	p.down = nil
	boom := errors.New("boom")
	for range 3 {
		p.write()
		p.place.Fault("Receive", 2, boom)
		if _, err := p.Run(t.Context(), p.app, ""); !errors.Is(err, boom) {
			t.Fatal(err)
		}
	}
	if n := len(p.bases()); n == 0 || n > 3 {
		t.Errorf("%d sets are kept", n)
	}
	l, err := p.target.List(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range l.Snapshots {
		if !p.has(s.Set) {
			t.Errorf("%s has arrived, and is gone here", s.Set)
		}
	}
	p.run()
	if n := len(p.bases()); n != 1 {
		t.Errorf("afterwards %d sets are kept", n)
	}
}
