package replicatest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/report"
)

// setsAtOnce is at most how many sets a disturbed run has to send.
const setsAtOnce = 2

// disturbance is one thing that happens to one run.
type disturbance struct {
	kind    string                             // for the tally
	name    string                             // for a person
	fresh   bool                               // nothing is at the target yet
	source  string                             // fault of the sending process
	serving string                             // fault of the serving process
	dir     int                                // of the line
	at      int64                              // bytes on the line, after which act is called
	after   time.Duration                      // of the run, after which act is called; 0: at says when
	act     func(*pair, *testing.T, *run) fate // nil: only the faults
}

// run is one that is disturbed.
type run struct {
	*program
	away bool // the target's file system is not mounted
	came bool // what was to happen did
}

// disturb lets it happen to a run that has one set or two to send, checks everything, and lets the next run go on.
func (p *pair) disturb(t *testing.T, d disturbance) {
	t.Helper()
	if d.fresh {
		p.newPlace(t)
	}
	b := p.look(t)
	for range 1 + p.chance.IntN(setsAtOnce) {
		p.take(t)
	}
	r := p.disturbed(t, d)
	sent, came := p.line.disarm()
	r.came = r.came || came && d.act != nil && d.after == 0
	p.tell(t, d, r)
	if r.away {
		p.whileAway(t)
		mount(t, p.target)
	}
	if p.chance.IntN(2) == 0 { // or the next run comes at once
		p.must(t, nil, "prune", p.app, "--yes") // which must leave the base
		p.check(t, b, p.atTarget(t))
	}
	next, more := p.goOn(t, d.fresh)
	p.there = p.atTarget(t)
	if again := p.count(d, r, b, sent[p.data()]+more, next); again > p.first {
		t.Errorf("%d bytes were sent again, and one set is no more than %d", again, p.first)
	}
	p.check(t, b, p.there)
	p.checkSettled(t, p.there)
	if t.Failed() {
		t.Fatalf("%s %s:\n%s", d.kind, d.name, r.stderr())
	}
}

// disturbed lets it happen.
func (p *pair) disturbed(t *testing.T, d disturbance) *run {
	t.Helper()
	r := &run{}
	started := make(chan struct{})
	act := func() fate {
		<-started
		return d.act(p, t, r)
	}
	p.line.arm(nil)
	if d.act != nil && d.after == 0 {
		p.line.arm(&event{d.dir, d.at, act})
	}
	p.faultServing(t, d.serving)
	r.program = p.begin(t, d.source, "replicate", p.app, "--json")
	close(started)
	if d.after > 0 {
		select {
		case <-r.done:
		case <-time.After(d.after):
			r.came = true
			act()
		}
	}
	r.status(t)
	points := p.spareServing(t)
	for _, f := range []struct {
		fault  string
		points []string
	}{{d.source, r.passed(t)}, {d.serving, points}} {
		if _, at, ok := strings.Cut(f.fault, "@"); ok {
			n, err := strconv.Atoi(at)
			r.came = r.came || err == nil && len(f.points) > n
		}
	}
	return r
}

// tell checks that the run's end is that of what happened to it.
func (p *pair) tell(t *testing.T, d disturbance, r *run) {
	t.Helper()
	switch s := r.status(t); {
	case s == 0 || s == 1 && r.read("stdout") != "":
	case s == -1 && (d.source != "" || d.act != nil):
	default:
		t.Errorf("%s %s: exit status %d:\n%s", d.kind, d.name, s, r.stderr())
	}
}

// whileAway is that nothing is written where the target's file system is not mounted.
func (p *pair) whileAway(t *testing.T) {
	t.Helper()
	g := p.begin(t, "", "replicate", p.app)
	if s := g.status(t); s != 1 {
		t.Errorf("the target is away: exit status %d:\n%s", s, g.stderr())
	}
	if entries, err := os.ReadDir(p.target.Top); err != nil || len(entries) > 0 {
		t.Errorf("below the mount point lie %v, %v", entries, err)
	}
}

// goOn is the next run, which has to succeed, and how many bytes it sent.
func (p *pair) goOn(t *testing.T, fresh bool) (r report.Replication, sent int64) {
	t.Helper()
	p.line.arm(nil)
	r = p.replicate(t)
	passed, _ := p.line.disarm()
	for i, s := range r.Sets {
		if !s.Incremental && !(fresh && i == 0) {
			t.Errorf("I5: %s was sent as a whole", s.ID)
		}
	}
	return r, passed[p.data()]
}

// What happens to either side.

func cut(*pair, *testing.T, *run) fate { return breaks }

func hang(*pair, *testing.T, *run) fate { return hangs }

// powerCut is the source's: nobody tells the target.
func powerCut(_ *pair, _ *testing.T, r *run) fate {
	r.kill()
	return hangs
}

func killSource(_ *pair, _ *testing.T, r *run) fate {
	r.kill()
	return goesOn
}

func killTarget(p *pair, _ *testing.T, _ *run) fate {
	p.killServing()
	return goesOn
}

// killBoth is as when both hosts stood on one power line.
func killBoth(p *pair, _ *testing.T, r *run) fate {
	r.kill()
	p.killServing()
	return breaks
}

// killSession ends the ssh connection by its far end.
func killSession(p *pair, t *testing.T, _ *run) fate {
	if err := p.sshd.Cut(); err != nil {
		t.Error(err)
	}
	return goesOn
}

// reboot takes all processes and the file system of the target away. It comes back in disturb.
func reboot(p *pair, t *testing.T, r *run) fate {
	err := p.sshd.Cut()
	p.killServing()
	if p.way.fetch {
		r.kill()
	}
	err = errors.Join(err, poll(limit(), func() error {
		if len(p.serving()) > 0 {
			return errors.New("it still serves")
		}
		return unix.Unmount(p.target.Top, 0)
	}))
	if err != nil {
		t.Error(err)
	}
	r.away = err == nil
	return breaks
}

// killServing kills what serves this pair.
func (p *pair) killServing() {
	for _, pid := range p.serving() {
		kill(pid)
	}
	_ = poll(limit(), func() error { // what has not ended keeps the file system busy, which will be said
		if left := p.serving(); len(left) > 0 {
			return fmt.Errorf("still there: %v", left)
		}
		return nil
	})
}

// argument is what the command line of who serves this pair has in it.
func (p *pair) argument() string {
	if p.way.fetch {
		return p.app
	}
	return p.place()
}

// serving are the processes that serve this pair.
func (p *pair) serving() (pids []int) {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is a good one
	for _, path := range commands {
		argv, err := os.ReadFile(path)
		var pid int
		if err != nil || !strings.Contains(string(argv), "\x00serve\x00") || !strings.Contains(string(argv), p.argument()) {
			continue
		}
		if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil && !gone(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
