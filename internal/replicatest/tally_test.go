package replicatest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/report"
)

// counts are of one kind of what happened.
type counts struct {
	times, came   int   // tried; and it did happen
	sets          int   // that arrived
	resumed       int   // runs that went on in the middle of a stream
	needed, again int64 // bytes on the line: what had to go over it, and what went over it once more
	worst         int64 // of again
}

func (c *counts) add(o counts) {
	c.times, c.came, c.sets, c.resumed = c.times+o.times, c.came+o.came, c.sets+o.sets, c.resumed+o.resumed
	c.needed, c.again, c.worst = c.needed+o.needed, c.again+o.again, max(c.worst, o.worst)
}

func (c *counts) String() string {
	if c.needed == 0 { // there is no line
		return fmt.Sprintf("%d of %d came, %d sets, %d resumed", c.came, c.times, c.sets, c.resumed)
	}
	return fmt.Sprintf("%d of %d came, %d sets, %d resumed; %.1f MiB had to be sent, %.1f MiB were sent again (%.0f %%), at most %.1f MiB at a time",
		c.came, c.times, c.sets, c.resumed, mib(c.needed), mib(c.again), 100*float64(c.again)/float64(max(1, c.needed)), mib(c.worst))
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// count notes one case, and returns how many bytes were sent again: sent is what went over the line in both runs.
func (p *pair) count(d disturbance, r *run, b before, sent int64, next report.Replication) (again int64) {
	c := counts{times: 1, needed: 2 * p.idle}
	for _, s := range p.there {
		if !slices.Contains(b.whole, string(s.ID)) {
			c.sets++
			c.needed += p.perSet
		}
	}
	if d.fresh {
		c.needed += p.first - p.perSet
	}
	if r.came {
		c.came = 1
		if d.source+d.serving != "" {
			p.hit[d.name]++
		}
	}
	if slices.ContainsFunc(next.Sets, func(s report.Sent) bool { return s.Resumed }) {
		c.resumed = 1
	}
	c.again = max(0, sent-c.needed)
	c.worst = c.again
	if p.tally[d.kind] == nil {
		p.tally[d.kind] = &counts{}
	}
	p.tally[d.kind].add(c)
	return c.again
}

func (p *pair) report(t *testing.T, wanted int) {
	t.Helper()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.hit)) {
		names = append(names, fmt.Sprintf("%s (%d)", name, p.hit[name]))
	}
	t.Logf("%s: killed at points of %d names: %s", p.way.name, len(names), strings.Join(names, ", "))
	var sum counts
	for _, kind := range slices.Sorted(maps.Keys(p.tally)) {
		t.Logf("%s: %s: %v", p.way.name, kind, p.tally[kind])
		sum.add(*p.tally[kind])
	}
	t.Logf("%s: %d of %d cases: %v; a set is %.1f MiB on the line, nothing to do %.1f KiB",
		p.way.name, sum.times, wanted, &sum, mib(p.perSet), float64(p.idle)/1024)
}
