package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/fixture"
)

// prove stops the load, starts PostgreSQL from the newest set that was kept and from the oldest one, and looks at what is
// in them. Both were taken under load.
func (p *play) prove(ctx context.Context) error {
	p.out.heading("Are they good?")
	if err := p.node.Stop(); err != nil {
		return err
	}
	kept, err := p.volsnap.List(ctx)
	if err != nil {
		return err
	}
	if len(kept) != 3 {
		return fmt.Errorf("the policy %s kept %d sets", policy, len(kept))
	}
	slices.SortFunc(kept, func(a, b fixture.Set) int { return strings.Compare(b.ID, a.ID) })
	for i, s := range []fixture.Set{kept[0], kept[2]} {
		if i > 0 && p.quick {
			break
		}
		set, err := p.volsnap.Show(ctx, s.ID)
		if err != nil {
			return err
		}
		if err := p.proveOne(ctx, set, fixture.VerifyOptions{Amcheck: i == 0 && !p.quick}); err != nil {
			return err
		}
	}
	if err := p.proveReplica(ctx); err != nil {
		return err
	}
	return p.node.Running()
}

// proveReplica starts PostgreSQL from the newest set at the backup server.
func (p *play) proveReplica(ctx context.Context) error {
	if p.backup == nil {
		return nil
	}
	sets, err := p.replicas(ctx)
	if err != nil {
		return err
	}
	p.out.text("The newest replica, from a copy of what lies on the backup server:")
	return p.proveOne(ctx, sets[len(sets)-1], fixture.VerifyOptions{Storage: p.backup.Storage(), Copies: p.backup.Pool.Top})
}

func (p *play) proveOne(ctx context.Context, set fixture.Set, opts fixture.VerifyOptions) error {
	v, err := p.node.Verify(ctx, set, opts)
	if err != nil {
		return err
	}
	p.out.text("%s (%s)", set.ID, set.Consistency)
	p.out.text("  PostgreSQL on a copy of it     ready after %.1f s, with %.1f MB of WAL to redo",
		v.Recovery.Ready.Seconds(), float64(v.Recovery.WALBytes)/1e6)
	p.out.text("  pgbench's four sums            %d, %d, %d, %d", v.Sums.Accounts, v.Sums.Tellers, v.Sums.Branches, v.Sums.History)
	p.out.text("  rows that name a file          %d; file missing: %d (1 can be in the collector's hands), other content: %d",
		v.Rows, v.Dangling, v.Torn)
	p.out.text("  counter in one volume, other   %d, %d (the first is written first)", v.A, v.B)
	p.out.text("  blocks that ipfs has pinned    %d; missing or with other content: %d", v.Pins, v.Lost)
	p.out.text("  keys/ and config.yml           as on the node")
	if v.Amcheck {
		p.out.text("  pg_amcheck, heap and indexes   found nothing")
	}
	p.out.text("")
	if err := v.Check(); err != nil {
		return fmt.Errorf("set %s is not good: %w", set.ID, err)
	}
	p.proved = append(p.proved, v)
	return nil
}

// conclude says in a sentence what was shown.
func (p *play) conclude(took time.Duration) {
	var felt []time.Duration
	for _, set := range p.sets {
		felt = append(felt, longestFelt(set, p.measured))
	}
	dangling := 0
	for _, v := range p.proved {
		dangling += max(0, v.Dangling-1)
	}
	p.out.heading("Proved in %.0f s", took.Seconds())
	p.out.text("%d of %d sets under load are complete and consistent; the longest pause that a container felt was %s at the median, %s at most.",
		len(p.sets), len(p.sets), milliseconds(median(felt)), milliseconds(slices.Max(felt)))
	p.out.text("PostgreSQL started from %s with balanced books, %d dangling references and no torn files. No container was left paused.",
		count(len(p.proved), "set", "sets"), dangling)
}
