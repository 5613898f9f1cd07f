package transport

import (
	"context"
	"io"
	"time"
)

// watch ends a context with errSilent if the other side lets us wait for too long. It counts only while it is armed: what this side
// takes to read or write its own storage is no silence.
type watch struct {
	timer *time.Timer
	limit time.Duration
	end   func()
}

func watched(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errSilent) })
	timer.Stop()
	return ctx, &watch{timer: timer, limit: limit, end: func() {
		timer.Stop()
		cancel(nil)
	}}
}

func (w *watch) arm()    { w.timer.Reset(w.limit) }
func (w *watch) disarm() { w.timer.Stop() }

// taker watches who takes a body.
type taker struct {
	io.Writer
	watch *watch
}

func (t taker) Write(p []byte) (int, error) {
	t.watch.arm()
	defer t.watch.disarm()
	return t.Writer.Write(p)
}

// giver watches who gives a body.
type giver struct {
	io.Reader
	watch *watch
}

func (g giver) Read(p []byte) (int, error) {
	g.watch.arm()
	defer g.watch.disarm()
	return g.Reader.Read(p)
}
