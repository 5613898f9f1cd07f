package replicatest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTargetIsFull fills the target's file system, so that it is full at one moment or another of a run. The run says so, and
// the next one goes on when there is room.
func TestTargetIsFull(t *testing.T) {
	t.Parallel()
	for _, w := range []way{
		{name: "fullplain", keep: 3, size: smallSize},
		{name: "fullresume", keep: 3, resume: true, size: smallSize},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, w)
			var cases []disturbance
			for range 12 {
				room := p.chance.Int64N(p.perSet)
				cases = append(cases, disturbance{kind: "target full", name: fmt.Sprint("after ", room, " bytes"), at: room})
			}
			some, late := someOf(t, p.chance, cases)
			for i, d := range some {
				if i > 0 && late() {
					break
				}
				p.full(t, d)
			}
			p.report(t, len(cases))
		})
	}
}

const smallSize = 512 << 20

// full is disturb for a target that has only d.at bytes left.
func (p *pair) full(t *testing.T, d disturbance) {
	t.Helper()
	b := p.look(t)
	for range 1 + p.chance.IntN(setsAtOnce) {
		p.take(t)
	}
	empty := p.fillUp(t, d.at)
	p.line.arm(nil)
	r := &run{program: p.begin(t, "", "replicate", p.app, "--json")}
	status := r.status(t)
	sent, _ := p.line.disarm()
	r.came = status == 1 && strings.Contains(r.stderr(), unix.ENOSPC.Error())
	if status != 0 && !r.came {
		t.Errorf("exit status %d, not that of a full target:\n%s", status, r.stderr())
	}
	p.must(t, nil, "prune", p.app, "--yes")
	p.check(t, b, p.atTarget(t))
	empty()
	next, more := p.goOn(t, false)
	p.there = p.atTarget(t)
	p.count(d, r, b, sent[up]+more, next)
	p.check(t, b, p.there)
	p.checkSettled(t, p.there)
	if t.Failed() {
		t.Fatalf("%s %s:\n%s", d.kind, d.name, r.stderr())
	}
}

// ballast is how large the files are that fill the target.
const ballast = 256 << 10

// fillUp leaves about that many bytes in the target's file system, until empty is called.
func (p *pair) fillUp(t *testing.T, room int64) (empty func()) {
	t.Helper()
	dir := filepath.Join(p.target.Top, "ballast")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		err := allocate(filepath.Join(dir, fmt.Sprint(n)))
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for left := max(0, n-int(room/ballast)); n >= left; n-- {
		if err := os.Remove(filepath.Join(dir, fmt.Sprint(n))); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	command(t, "btrfs", "filesystem", "sync", p.target.Top)
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		command(t, "btrfs", "filesystem", "sync", p.target.Top)
	}
}

func allocate(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, ballast), f.Close())
}
