package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	quiet   = time.Second // a stage shorter than this shows nothing
	refresh = 200 * time.Millisecond
)

// progress shows on a terminal what is going on and for how long, on one line that goes away.
type progress struct {
	p     *program
	mu    sync.Mutex
	stage string
	since time.Time
	shown bool
}

// withProgress runs fn; while it runs, stages of the engine that take longer than a second are shown if stderr is a terminal.
func (p *program) withProgress(c *cli.Context, h *host, fn func(context.Context) error) error {
	if !isTerminal(p.stderr) {
		return fn(c.Context)
	}
	bar := &progress{p: p}
	h.engine.Stage = bar.set
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { bar.draw(done) })
	err := fn(c.Context)
	close(done)
	wg.Wait()
	return err
}

func (b *progress) set(stage string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	b.stage, b.since = stage, time.Now()
}

func (b *progress) draw(done <-chan struct{}) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-done:
			b.set("")
			return
		case <-tick.C:
			b.mu.Lock()
			if took := time.Since(b.since); b.stage != "" && took > quiet {
				_, _ = fmt.Fprintf(b.p.stderr, "\r\033[K%s … %ds", b.stage, int(took.Seconds())) // decoration only
				b.shown = true
			}
			b.mu.Unlock()
		}
	}
}

// clear takes the line away, for the log line that may follow.
func (b *progress) clear() {
	if b.shown {
		_, _ = fmt.Fprint(b.p.stderr, "\r\033[K") // decoration only
		b.shown = false
	}
}
