package replicatest

import (
	"fmt"
	"testing"
	"time"
)

// TestWhateverHappens kills either side at each point, and lets lines break, processes die and the target go away in the
// middle of streams.
func TestWhateverHappens(t *testing.T) {
	t.Parallel()
	for _, w := range []way{
		{name: "plain", size: poolSize},
		{name: "resume", resume: true, size: poolSize},
		{name: "pruned", resume: true, keep: 3, size: poolSize},
		{name: "local", resume: true, local: true, size: poolSize},
		{name: "fetched", resume: true, fetch: true, size: poolSize},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, w)
			p.disturbAll(t, p.cases(t))
		})
	}
}

// cases are all that there are for this pair.
func (p *pair) cases(t *testing.T) (all []disturbance) {
	t.Helper()
	all = append(p.points(t), p.atTimes(t)...)
	if !p.way.local {
		all = append(all, p.onTheLine()...)
		if p.way.keep == 0 {
			all = append(all, p.firstSets()...)
		}
	}
	p.there = p.atTarget(t)
	return all
}

// disturbAll does each of some cases, and reports.
func (p *pair) disturbAll(t *testing.T, cases []disturbance) {
	t.Helper()
	some, late := someOf(t, p.chance, cases)
	for i, d := range some {
		if i > 0 && late() {
			break
		}
		p.disturb(t, d)
	}
	p.report(t, len(cases))
}

// points are those that an undisturbed run passes on both sides.
func (p *pair) points(t *testing.T) (cases []disturbance) {
	t.Helper()
	p.take(t)
	p.faultServing(t, "")
	g := p.begin(t, "", "replicate", p.app)
	if s := g.status(t); s != 0 {
		t.Fatalf("exit status %d:\n%s", s, g.stderr())
	}
	for n, name := range g.passed(t) {
		if n > 0 {
			cases = append(cases, disturbance{kind: p.sides()[0] + " killed at a point", name: name, source: fmt.Sprint("kill@", n)})
		}
	}
	for n, name := range p.spareServing(t) {
		if n > 0 {
			cases = append(cases, disturbance{kind: p.sides()[1] + " killed at a point", name: name, serving: fmt.Sprint("kill@", n)})
		}
	}
	return cases
}

// sides are the process that connects, and the one that serves.
func (p *pair) sides() [2]string {
	if p.way.fetch {
		return [2]string{"fetching server", "source"}
	}
	return [2]string{"source", "server"}
}

// onTheLine are cases in the middle of what is sent.
func (p *pair) onTheLine() (cases []disturbance) {
	for _, k := range []struct {
		kind     string
		up, down int // how many
		act      func(*pair, *testing.T, *run) fate
	}{
		{"line cut", 16, 6, cut},
		{"source killed in a stream", 8, 2, killSource},
		{"server killed in a stream", 8, 2, killTarget},
		{"both killed in a stream", 5, 0, killBoth},
		{"session ended in a stream", 5, 0, killSession},
		{"target rebooted in a stream", 6, 1, reboot},
	} {
		for i := range k.up + k.down {
			d := disturbance{kind: k.kind, act: k.act, dir: p.data(), at: p.chance.Int64N(p.idle + p.perSet)}
			if i >= k.up {
				d.dir, d.at = up+down-p.data(), p.chance.Int64N(p.idle+8<<10) // keys, the listing, answers
			}
			d.name = fmt.Sprintf("after %d bytes in direction %d", d.at, d.dir)
			cases = append(cases, d)
		}
	}
	return cases
}

// firstSets are cases while the first set of all is sent.
func (p *pair) firstSets() (cases []disturbance) {
	for i := range 8 {
		d := disturbance{kind: "line cut in the first set", act: cut, at: p.chance.Int64N(p.idle + p.first), fresh: true}
		if i%2 == 1 {
			d.kind, d.act = "server killed in the first set", killTarget
		}
		d.name = fmt.Sprintf("after %d bytes", d.at)
		cases = append(cases, d)
	}
	return cases
}

// atTimes are cases at any moment of a run.
func (p *pair) atTimes(t *testing.T) (cases []disturbance) {
	t.Helper()
	p.take(t)
	begin := time.Now()
	p.replicate(t)
	took := time.Since(begin)
	for _, k := range []struct {
		kind string
		act  func(*pair, *testing.T, *run) fate
	}{{"source killed at a time", killSource}, {"server killed at a time", killTarget}} {
		if p.way.local && k.kind != "source killed at a time" {
			continue
		}
		for range 6 {
			after := 1 + time.Duration(p.chance.Int64N(int64(took)))
			cases = append(cases, disturbance{kind: k.kind, name: after.String(), after: after, act: k.act})
		}
	}
	return cases
}
