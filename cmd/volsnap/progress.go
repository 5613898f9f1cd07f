package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/replicate"
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
	sent  replicate.Progress // of the stage, if it sends
	began time.Time          // of that set
	shown bool
}

// withProgress runs fn; while it runs, stages of the engine that take longer than a second are shown if stderr is a terminal.
func (p *program) withProgress(c *cli.Context, h *host, fn func(context.Context) error) error {
	if !isTerminal(p.stderr) {
		return fn(c.Context)
	}
	bar := &progress{p: p}
	h.engine.Stage, h.engine.Sending = bar.set, bar.sending
	p.bar.Store(bar)
	defer p.bar.Store(nil)
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
	b.stage, b.since, b.sent = stage, time.Now(), replicate.Progress{}
}

func (b *progress) sending(p replicate.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent.Set != p.Set {
		b.began = time.Now()
	}
	if b.sent.Set != p.Set || p.Sent > b.sent.Sent { // several streams tell
		b.sent = p
	}
}

// rate is what is known of a set on its way: how much of how much, how fast, and the time that is left.
func rate(p replicate.Progress, took time.Duration) string {
	if p.Set == "" || took <= 0 {
		return ""
	}
	speed := float64(p.Sent) / took.Seconds()
	out := ", " + humanize.IBytes(uint64(p.Sent))
	if p.Total > p.Sent {
		out += " of about " + humanize.IBytes(uint64(p.Total))
	}
	out += ", " + humanize.IBytes(uint64(speed)) + "/s"
	if p.Total > p.Sent && speed > 0 {
		left := time.Duration(float64(p.Total-p.Sent) / speed * float64(time.Second))
		out += ", " + left.Round(time.Second).String() + " left"
	}
	return out
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
				line := fmt.Sprintf("%s … %ds%s", b.stage, int(took.Seconds()), rate(b.sent, time.Since(b.began)))
				_, _ = fmt.Fprintf(b.p.stderr, "\r\033[K%s", cut(line, b.width())) // decoration only
				b.shown = true
			}
			b.mu.Unlock()
		}
	}
}

// logWriter is where the log goes: past the line that shows progress.
type logWriter struct{ p *program }

func (w logWriter) Write(text []byte) (int, error) {
	if bar := w.p.bar.Load(); bar != nil {
		bar.mu.Lock()
		defer bar.mu.Unlock()
		bar.clear()
	}
	return w.p.stderr.Write(text)
}

// width is how many columns the terminal has.
func (b *progress) width() int {
	if f, ok := b.p.stderr.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}

// cut leaves of a line what fits, and does not fill the last column, where some terminals begin a new one.
func cut(line string, width int) string {
	text := []rune(line)
	return string(text[:min(len(text), max(0, width-1))])
}

// clear takes the line away, for the log line that may follow.
func (b *progress) clear() {
	if b.shown {
		_, _ = fmt.Fprint(b.p.stderr, "\r\033[K") // decoration only
		b.shown = false
	}
}
