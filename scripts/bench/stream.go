package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	streamRuns      = 7
	streamMebibytes = 1024
	slowMebibytes   = 256 // where a machine is slow
)

// stream sends a large volume, and then what changed of it.
func (b *bench) stream(ctx context.Context) error {
	on, err := b.replicates()
	if err != nil {
		return err
	}
	v := volume{b.mebibytes}
	if v.mebibytes == 0 {
		v.mebibytes = streamMebibytes
		if testhost.Slow() > 1 {
			v.mebibytes = slowMebibytes
		}
	}
	routes := b.routes(on)
	for i := range b.times(streamRuns) {
		b.out.progress("stream: round %d", i+1)
		if err := b.streamRound(ctx, on, v, routes, i); err != nil {
			return err
		}
	}
	b.streamTable(fmt.Sprintf("%d MiB as a whole, %d of them of noise", v.size()>>20, v.noise()*fileMebibytes), routes, 0, v.size())
	b.streamTable(fmt.Sprintf("%d MiB that changed, as an increment", v.changed()>>20), routes, 1, v.changed())
	return nil
}

// streamRound has a volume, pools and servers of its own.
func (b *bench) streamRound(ctx context.Context, on replicating, v volume, routes []*route, i int) (err error) {
	var done closers
	defer func() { err = errors.Join(err, done.close()) }()
	dir := filepath.Join(filepath.Dir(b.bin), fmt.Sprint("stream", i))
	pool, remove, err := testhost.NewPool(b.kind, diskSize)
	if err != nil {
		return err
	}
	done.add(remove)
	s, err := newStore(ctx, b.on, pool, dir, 1, 2, "{last: 1000}")
	if err != nil {
		return err
	}
	ends, senders := make([]*end, len(routes)), make([]sender, len(routes))
	for at, r := range routes {
		ends[at] = &end{b: b, on: on, s: s, dir: filepath.Join(dir, fmt.Sprint(at))}
		if senders[at], err = r.open(ctx, ends[at], &done); err != nil {
			return err
		}
	}
	for k := range len(route{}.sent) {
		if err := v.write(s.paths[0], k); err != nil {
			return err
		}
		if err := s.make(ctx, k); err != nil {
			return err
		}
		for n := range routes {
			at := (n + i) % len(routes) // none always follows the same other
			if err := routes[at].send(ctx, ends[at], senders[at], k); err != nil {
				return err
			}
		}
	}
	for at, r := range routes {
		if !r.ssh {
			continue
		}
		far, err := retire(ends[at].server)
		if err != nil {
			return err
		}
		for k := range r.sent {
			r.sent[k].far = max(r.sent[k].far, far)
		}
	}
	return nil
}

func (b *bench) streamTable(title string, routes []*route, k, size int) {
	var rows [][]string
	for _, r := range routes {
		t, raw := r.sent[k], r.raw.sent[k]
		far := "the same"
		if r.ssh {
			far = mebibytes(t.far)
		}
		speed := fmt.Sprintf("%.0f", float64(size)/(1<<20)/t.took.median().Seconds())
		row := append(append([]string{r.name}, t.took.cells()...), speed, ratio(raw.took, t.took), milliseconds(t.ended.median()), ratio(raw.ended, t.ended))
		rows = append(rows, append(row, mebibytes(t.memory), far))
	}
	head := append(append([]string{""}, statistics...), "MiB/s", "of the raw pipe's speed", "command ended, median", "of the raw pipe's", "peak memory sending", "receiving")
	b.out.table(title, head, rows)
}
