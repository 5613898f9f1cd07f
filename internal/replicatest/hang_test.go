package replicatest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/report"
)

// TestLineHangs lets a connection hang: nothing passes, and nobody is told. Each side notices by itself, within a minute and a
// half; until the target has, it takes no other stream of the same datasets, and says so.
func TestLineHangs(t *testing.T) {
	t.Parallel()
	if !all(t) {
		t.Log("takes minutes: left to VOLSNAP_KILL_EVERY=1")
		return
	}
	for _, resume := range []bool{false, true} {
		t.Run(fmt.Sprint("resume ", resume), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, way{name: fmt.Sprintf("hang-%t", resume), resume: resume, size: poolSize})
			for _, d := range []disturbance{{kind: "line hangs", act: hang}, {kind: "source loses its power", act: powerCut}} {
				d.at = p.idle + p.chance.Int64N(p.perSet)
				p.hung(t, d)
			}
			p.report(t, 2)
		})
	}
}

// hung is disturb for a line that hangs on until the next run has succeeded.
func (p *pair) hung(t *testing.T, d disturbance) {
	t.Helper()
	b := p.look(t)
	p.take(t)
	begin := time.Now()
	r := p.disturbed(t, d)
	sent, came := p.line.disarm()
	r.came = came
	noticed := time.Since(begin)
	p.check(t, b, p.atTarget(t))
	tries := 0
	var last []report.Replication
	p.line.arm(nil)
	eventually(t, func() error {
		tries++
		g := p.begin(t, "", "replicate", p.app, "--json")
		switch s := g.status(t); {
		case s == 0:
			return json.Unmarshal([]byte(g.read("stdout")), &last)
		case s == 1 && strings.Contains(g.stderr(), "another stream of its dataset is arriving"):
			return errors.New(g.stderr())
		default:
			t.Fatalf("exit status %d:\n%s", s, g.stderr())
			return nil
		}
	})
	t.Logf("%s: the source ended after %s, and %d tries later, after %s, the target was free",
		d.kind, noticed.Round(time.Second), tries-1, time.Since(begin).Round(time.Second))
	more, _ := p.line.disarm()
	p.there = p.atTarget(t)
	p.count(d, r, b, sent[up]+more[up], last[0])
	p.check(t, b, p.there)
	p.checkSettled(t, p.there)
	p.line.release()
	if t.Failed() {
		t.Fatalf("%s %s:\n%s", d.kind, d.name, r.stderr())
	}
}
