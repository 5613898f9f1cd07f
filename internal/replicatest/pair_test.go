package replicatest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// pair is a source, and a target to which a line leads.
type pair struct {
	app    string // its name, which no other has: volsnap finds the sets of an app wherever a Btrfs is mounted
	bin    string
	config string // of the source
	fetch  string // configuration of the target, if it fetches
	source *testhost.Pool
	target *testhost.Pool
	sshd   *testhost.SSHD
	line   *line
	way    way
	places int // that there were before
	chance *rand.Rand
	noise  *rand.ChaCha8 // what files are filled with

	taken   []set              // at the source, oldest first
	there   []snapset.Manifest // at the target, when it was last settled
	foreign map[string]subvol  // what others have at the target
	notes   string             // a file that is another's, too
	tally   map[string]*counts // by the kind of what happened
	hit     map[string]int     // kills, by the point's name
	bare    map[string]bool    // records without a snapshot that were there at the last look

	// Bytes on the line when nothing happens.
	first  int64 // for a set that is sent as a whole
	perSet int64 // for an increment
	idle   int64 // when there is nothing to send
}

// way is how sets get to the target.
type way struct {
	name   string
	resume bool
	fetch  bool  // the target's side connects to the source
	local  bool  // the target is another disk of the same host: one process does it all
	keep   int   // sets that the target's own policy keeps; 0: all
	size   int64 // of the target, in bytes
}

const poolSize = 6 << 30 // sparse

func newPair(t *testing.T, w way) *pair {
	t.Helper()
	testhost.Require(t, testhost.PartSSH, testhost.HaveSSH())
	p := &pair{
		app: fmt.Sprintf("rt%d-%s", os.Getpid(), w.name),
		bin: filepath.Join(builtDir(), "volsnap"), way: w, chance: chance(t), tally: map[string]*counts{}, hit: map[string]int{},
		source: testhost.StartPool(t, testhost.PartBtrfs, poolSize), target: testhost.StartPool(t, testhost.PartBtrfs, w.size),
	}
	if err := built(); err != nil {
		t.Fatal(err)
	}
	for _, pool := range []*testhost.Pool{p.source, p.target} {
		quicken(t, pool)
	}
	p.noise = noise(p.chance)
	p.config, p.fetch = filepath.Join(p.source.Dir, "volsnap.yaml"), filepath.Join(p.target.Dir, "volsnap.yaml")
	sshdDir := filepath.Join(p.target.Dir, "sshd")
	for _, dir := range []string{p.place(), sshdDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.sshd = testhost.StartSSHD(t, sshdDir, p.writeServe(t))
	t.Cleanup(p.killServing) // what is at work keeps the file system busy
	p.line = startLine(t, p.sshd.Port)
	p.know(t)
	p.configure(t)
	p.makeVolumes(t)
	p.settleIn(t)
	return p
}

// place is where the replicas lie.
func (p *pair) place() string { return filepath.Join(p.target.Top, p.client()) }

// client is the name of the client that the place is for.
func (p *pair) client() string { return fmt.Sprint("node", p.places) }

// manifests is where those of the replicas lie.
func (p *pair) manifests() string {
	if p.way.fetch {
		return filepath.Join(p.state(), "targets", "backup", "sets", p.app)
	}
	return filepath.Join(p.state(), "replicas", p.client(), "sets", p.app)
}

// state is the target's state directory.
func (p *pair) state() string {
	if p.way.fetch {
		return filepath.Join(p.target.Top, "state", p.client()) // whose place it is, nothing else tells there
	}
	return filepath.Join(p.target.Top, "state")
}

// writeServe writes what the key's forced command is. sshd passes no environment, so what is to happen to the serving process,
// is in a file.
func (p *pair) writeServe(t *testing.T) string {
	t.Helper()
	flags := ""
	if p.way.resume {
		flags += " --resume"
	}
	if p.way.keep > 0 {
		flags += fmt.Sprintf(" --keep last=%d --floor 0s", p.way.keep)
	}
	serve := fmt.Sprintf("--state-dir %s serve --client %s --into btrfs:%s%s", p.state(), p.client(), p.place(), flags)
	if p.way.fetch {
		serve = fmt.Sprintf("--state-dir %s/state serve --client server --send %s", p.source.Top, p.app)
	}
	path := filepath.Join(p.target.Dir, "serve.sh")
	p.write(t, path, 0o755, fmt.Sprintf("#!/bin/sh\n[ -e %[1]s ] && . %[1]s\nexec %s %s\n", p.faultFile(), p.bin, serve))
	return path
}

// data is the direction in which streams go over the line.
func (p *pair) data() int {
	if p.way.fetch {
		return down
	}
	return up
}

// base is the name under which the source keeps the base.
func (p *pair) base() string {
	if p.way.fetch {
		return "server/backup"
	}
	return "backup"
}

func (p *pair) faultFile() string { return filepath.Join(p.target.Dir, "fault") }
func (p *pair) faultLog() string  { return filepath.Join(p.target.Dir, "points") }

// faultServing says what is to happen to processes that serve from now on: "kill@7", or "" for their points alone.
func (p *pair) faultServing(t *testing.T, fault string) {
	t.Helper()
	p.write(t, p.faultLog(), 0o600, "")
	p.write(t, p.faultFile(), 0o600, fmt.Sprintf("export VOLSNAP_FAULT=%q VOLSNAP_FAULT_LOG=%s\n", fault, p.faultLog()))
}

// spareServing lets them be, and tells the points that were passed.
func (p *pair) spareServing(t *testing.T) []string {
	t.Helper()
	if err := os.Remove(p.faultFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return pointsIn(t, p.faultLog())
}

// know makes ssh know the server's key at the near end of the line.
func (p *pair) know(t *testing.T) {
	t.Helper()
	path := filepath.Join(p.sshd.Dir, "known_hosts")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(text), " ")
	p.write(t, path, 0o600, string(text)+"\n"+p.near()+" "+key)
}

// newPlace gives the source a place where nothing is.
func (p *pair) newPlace(t *testing.T) {
	t.Helper()
	p.places++
	p.there = nil
	if err := os.Mkdir(p.place(), 0o700); err != nil {
		t.Fatal(err)
	}
	p.writeServe(t)
	p.configure(t)
}

// near is the near end of the line, as known_hosts has it.
func (p *pair) near() string {
	_, port, _ := strings.Cut(p.line.l.Addr().String(), ":")
	return "[127.0.0.1]:" + port
}

func (p *pair) configure(t *testing.T) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "version: 1\nstate_dir: %[1]s/state\nrun_dir: %[1]s/run\napps:\n  %[2]s:\n    volumes:\n", p.source.Top, p.app)
	for _, v := range volumes {
		fmt.Fprintf(&text, "      - path: %s\n", p.volume(v))
	}
	text.WriteString("    freeze: {steps: []}\n    keep: {last: 1}\n")
	if p.way.fetch {
		p.write(t, p.config, 0o600, text.String())
		p.write(t, p.fetch, 0o600, fmt.Sprintf("version: 1\nstate_dir: %s\nrun_dir: %s/run\napps:\n  %s:\n    source: {ssh: \"ssh://root@%s\", identity: %s}\n"+
			"    replicate: [{target: backup}]\ntargets:\n  backup: {into: \"btrfs:%s\", resume: %t}\n",
			p.state(), p.target.Dir, p.app, p.line.l.Addr(), p.sshd.Identity, p.place(), p.way.resume))
		return
	}
	text.WriteString("    replicate: [{target: backup}]\n")
	if p.way.local {
		fmt.Fprintf(&text, "targets:\n  backup: {into: \"btrfs:%s\", resume: %t}\n", p.place(), p.way.resume)
	} else {
		fmt.Fprintf(&text, "targets:\n  backup: {ssh: \"ssh://root@%s\", identity: %s}\n", p.line.l.Addr(), p.sshd.Identity)
	}
	p.write(t, p.config, 0o600, text.String())
}

func (*pair) write(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// settleIn brings the first sets there, with what others have beside them, and measures.
func (p *pair) settleIn(t *testing.T) {
	t.Helper()
	p.makeForeign(t)
	p.take(t)
	p.first = p.measured(t)
	p.take(t)
	p.perSet = p.measured(t)
	p.idle = p.measured(t)
	p.first, p.perSet = p.first-p.idle, p.perSet-p.idle
	p.there = p.atTarget(t)
	p.checkSettled(t, p.there)
}

// measured is how many bytes one more replication sends.
func (p *pair) measured(t *testing.T) int64 {
	t.Helper()
	p.line.arm(nil)
	p.replicate(t)
	passed, _ := p.line.disarm()
	return passed[p.data()]
}
