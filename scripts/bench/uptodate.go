package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/report"
)

const (
	uptodateRuns     = 15
	uptodateDatasets = 100
)

// peer is a program and the server that it works with, and what of one run is counted, not measured.
type peer struct {
	measured
	server                *testhost.SSHD
	connections, commands int // of ssh
	here, there           int // processes
	far                   int64
}

// uptodate replicates where the target has everything: by volsnap, by the other tool, and by an ssh that does nothing. All datasets
// lie in one pool, and all that was sent in another; both have the snapshots of both tools.
func (b *bench) uptodate(ctx context.Context) (err error) {
	on, err := b.replicates()
	if err != nil {
		return err
	}
	var done closers
	defer func() { err = errors.Join(err, done.close()) }()
	n := uptodateDatasets
	if b.volumes > 0 {
		n = b.volumes
	}
	from, to, err := b.twoPools(&done)
	if err != nil {
		return err
	}
	s, err := newStore(ctx, b.on, from, filepath.Join(filepath.Dir(b.bin), "uptodate"), n, 1, "{last: 1000}")
	if err != nil {
		return err
	}
	into, err := on.place(ctx, to)
	if err != nil {
		return err
	}
	if err := b.sendFirst(ctx, on, s, to, into); err != nil {
		return err
	}
	peers, err := b.peers(ctx, on, s, to, into, "again", &done)
	if err != nil {
		return err
	}
	var all []*measured
	for _, p := range peers {
		all = append(all, &p.measured)
	}
	for i := range b.times(uptodateRuns) {
		b.out.progress("uptodate: round %d", i+1)
		if err := b.round(ctx, "uptodate", all, i); err != nil {
			return err
		}
	}
	trips, err := upToDate(ctx, peers[0].program)
	if err != nil {
		return err
	}
	for i, p := range peers {
		b.out.progress("uptodate: counting for %s", p.name)
		if err := p.count(ctx, filepath.Join(s.dir, fmt.Sprint("counted", i))); err != nil {
			return err
		}
	}
	b.uptodateTable(peers, n, trips)
	return nil
}

// sendFirst brings everything there, by servers of its own: what they take is not to be seen later.
func (b *bench) sendFirst(ctx context.Context, on replicating, s *store, to *testhost.Pool, into string) (err error) {
	var done closers
	defer func() { err = errors.Join(err, done.close()) }()
	if err := s.make(ctx, 0); err != nil {
		return err
	}
	peers, err := b.peers(ctx, on, s, to, into, "first", &done)
	if err != nil {
		return err
	}
	other, err := on.mirror(ctx, s, to, peers[1].server)
	if err != nil {
		return err
	}
	if other.snapshot != nil {
		if err := other.snapshot(ctx); err != nil {
			return err
		}
	}
	for _, p := range peers {
		b.out.progress("uptodate: once, with everything to be sent: %s", p.name)
		if _, err := measure(ctx, p.argv, p.env...); err != nil {
			return err
		}
	}
	there, err := other.arrived(ctx)
	if err == nil && there != len(s.paths) {
		err = fmt.Errorf("%s has sent %d snapshots of %d", other.name, there, len(s.paths))
	}
	return err
}

// peers are volsnap, the other tool and ssh alone, with a server for each.
func (b *bench) peers(ctx context.Context, on replicating, s *store, to *testhost.Pool, into, dir string, done *closers) (all []*peer, err error) {
	commands := []string{b.serving(to.Dir, into), anyCommand, anyCommand}
	for i, forced := range commands {
		server, err := newServer(filepath.Join(s.dir, dir, fmt.Sprint(i)), forced)
		if err != nil {
			return nil, err
		}
		done.add(closing(server))
		all = append(all, &peer{server: server})
	}
	if all[0].program, err = b.replicatesTo(s, "backup", sshTarget(all[0].server)); err != nil {
		return nil, err
	}
	all[0].env = []string{all[0].server.Env()}
	other, err := on.mirror(ctx, s, to, all[1].server)
	all[1].program = other.program
	all[2].program = program{name: "`ssh` alone, which runs `true`", argv: append(sshTo(all[2].server), "true")}
	return all, err
}

// count counts what one more run starts, and then ends the server.
func (p *peer) count(ctx context.Context, dir string) error {
	err := p.server.Rest()
	if err != nil {
		return err
	}
	connections, commands, err := p.server.Logins()
	if err != nil {
		return err
	}
	if p.here, p.there, err = started(ctx, dir, p.program, p.server); err != nil {
		return err
	}
	if p.here < 0 { // it did not run
		if _, err := measure(ctx, p.argv, p.env...); err != nil {
			return err
		}
	}
	if p.far, err = retire(p.server); err != nil {
		return err
	}
	p.connections, p.commands, err = p.server.Logins()
	p.connections, p.commands = p.connections-connections, p.commands-commands
	return err
}

// upToDate has volsnap say that there is nothing to be sent, and with how many round trips it found that.
func upToDate(ctx context.Context, p program) (int, error) {
	out, err := command.Run(ctx, command.Cmd{Argv: p.argv, Env: p.env})
	if err != nil {
		return 0, err
	}
	var all []report.Replication
	if err := json.Unmarshal(out.Stdout, &all); err != nil {
		return 0, err
	}
	if len(all) != 1 || !all[0].OK || len(all[0].Sets) > 0 {
		return 0, fmt.Errorf("it was not up to date: %s", out.Stdout)
	}
	return all[0].RoundTrips, nil
}

func (b *bench) uptodateTable(peers []*peer, n, trips int) {
	var rows [][]string
	for i, p := range peers {
		each, asked := "–", "–"
		if i < 2 {
			each = milliseconds(p.took.median() / time.Duration(n))
		}
		if i == 0 {
			asked = fmt.Sprint(trips)
		}
		row := append(append([]string{p.name}, p.took.cells()...), ratio(peers[0].took, p.took), each, milliseconds(p.worked.median()))
		row = append(row, fmt.Sprint(p.connections), fmt.Sprint(p.commands), asked, counted(p.here), counted(p.there))
		rows = append(rows, append(row, mebibytes(p.memory), mebibytes(p.far)))
	}
	head := append(append([]string{""}, statistics...), "volsnap is × this", "a dataset", "CPU time here, median", "connections",
		"commands on them", "round trips", "processes here", "there", "peak memory here", "there")
	b.out.table(fmt.Sprintf("%d datasets, one target behind ssh, nothing to send", n), head, rows)
}

func counted(n int) string {
	if n < 0 {
		return "–"
	}
	return fmt.Sprint(n)
}
