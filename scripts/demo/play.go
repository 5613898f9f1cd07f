package main

import (
	"context"
	"fmt"
	"time"

	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	clients   = 4  // of pgbench
	fewLines  = 24 // of init's output
	someLines = 60
)

// words are what is said of a storage.
type words struct{ name, where, dataset string }

var storages = map[string]words{
	testhost.PartBtrfs: {"Btrfs", "Btrfs on a loop device", "a subvolume"},
	testhost.PartZFS:   {"ZFS", "ZFS datasets seen in", "a dataset"},
	testhost.PartLVM:   {"LVM", "LVM thin volumes seen in", "a thin volume with ext4"},
}

// play is the demonstration on a node that is up.
type play struct {
	options
	node    *fixture.CCN
	volsnap *fixture.Volsnap
	pool    *testhost.Pool
	bin     string // volsnap

	backup      *fixture.Backup
	closeBackup func() error

	sets     []fixture.Set // as taken, under load
	measured fixture.Measured
	proved   []fixture.Verdict
}

func (p *play) run(ctx context.Context) error {
	begin := time.Now()
	for _, act := range []func(context.Context) error{p.scene, p.look, p.take, p.prune, p.nightly, p.replicate, p.prove} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	p.conclude(time.Since(begin))
	return nil
}

// scene says what there is.
func (p *play) scene(context.Context) error {
	states, err := p.node.Containers()
	if err != nil {
		return err
	}
	on := storages[p.storage]
	p.out.text("%-24s %s, below called $MNT", on.where+":", p.pool.Top)
	if p.pool.Name != "" {
		p.out.text("Its pool:                %s, below called $POOL", p.pool.Name)
	}
	p.out.text("Compose project:         %s", p.out.short.Replace(p.node.ProjectDir()))
	p.out.text("Containers:              %d, running; names, volumes and mounts as in aleph-im/pyaleph's sample", len(states))
	p.out.text("Volumes:                 %s each for PostgreSQL, the files and ipfs; keys/ and config.yml are bind mounts", on.dataset)
	return p.node.Running()
}

// look shows what volsnap makes of the host before it has done anything.
func (p *play) look(ctx context.Context) error {
	if err := p.show(ctx, "A first configuration", fewLines, "init", "--project", fixture.Project); err != nil {
		return err
	}
	p.out.heading("The configuration of this demonstration")
	p.out.block(string(p.node.Config()), someLines)
	if err := p.show(ctx, "What could make a run fail tonight?", someLines, "check", fixture.App); err != nil {
		return err
	}
	return p.show(ctx, "What would a run do?", someLines, "plan", fixture.App)
}

// take takes sets while the node is under load, and shows the pause as its containers felt it.
func (p *play) take(ctx context.Context) error {
	p.out.heading("%d sets under load", p.want)
	p.out.text("pgbench writes with %d clients; pyaleph stores files and commits their rows, its garbage collector deletes others.", clients)
	start := time.Now()
	if err := p.node.Load(ctx, clients); err != nil {
		return err
	}
	loaded := time.Now()
	for range p.want {
		set, err := p.volsnap.Snapshot(ctx)
		if err != nil {
			return err
		}
		p.sets = append(p.sets, set)
		if err := p.node.Running(); err != nil {
			return fmt.Errorf("after set %s: %w", set.ID, err)
		}
		p.out.text("took %s", set.ID)
	}
	var err error
	if p.measured, err = p.node.Measured(); err != nil {
		return err
	}
	p.out.text("")
	p.out.pauses(p.sets, p.measured)
	p.out.text("")
	p.out.text("\"felt\" is measured inside the containers, by a process that sleeps a millisecond at a time. Under the")
	p.out.text("same load, but with nothing paused, its longest wait in a second was %s at the median: the noise of the machine.",
		milliseconds(median(p.measured.Noise(start, loaded))))
	for _, set := range p.sets {
		if !set.Complete || set.Consistency != "frozen" && set.Consistency != "atomic" {
			return fmt.Errorf("set %s: complete %t, consistency %q", set.ID, set.Complete, set.Consistency)
		}
	}
	return nil
}

// prune shows what the policy lets go, and lets it go.
func (p *play) prune(ctx context.Context) error {
	for _, c := range []struct {
		heading string
		args    []string
	}{
		{"The sets", []string{"list", fixture.App}},
		{"What would the policy " + policy + " remove?", []string{"prune", fixture.App, "--dry-run"}},
		{"Remove it", []string{"prune", fixture.App}},
	} {
		if err := p.show(ctx, c.heading, someLines, c.args...); err != nil {
			return err
		}
	}
	return nil
}

// nightly does in one command what the timer does every night.
func (p *play) nightly(ctx context.Context) error {
	if err := p.show(ctx, "As the timer does it every night", someLines, "run", fixture.App); err != nil {
		return err
	}
	return p.show(ctx, "The sets", someLines, "list", fixture.App)
}

// show runs a command of volsnap and prints at most so many lines of what it printed.
func (p *play) show(ctx context.Context, heading string, lines int, args ...string) error {
	p.out.heading("%s", heading)
	p.out.command(args)
	stdout, stderr, err := p.volsnap.Run(ctx, append([]string{"--log-format", "console"}, args...)...)
	p.out.block(stdout, lines)
	if err != nil {
		return err
	}
	p.out.block(stderr, lines)
	return nil
}
