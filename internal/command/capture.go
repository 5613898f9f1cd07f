package command

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// gate passes writes on until it is shut. It keeps a program that could not be killed from writing into what the caller
// of Run has long gone on to use.
type gate struct {
	mu     sync.Mutex
	closed bool
	failed error // of the first write that failed; to be read once the gate is shut
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gate) writer(to ...io.Writer) io.Writer { return &gated{gate: g, to: io.MultiWriter(to...)} }

type gated struct {
	gate *gate
	to   io.Writer
}

func (w *gated) Write(p []byte) (int, error) {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if w.gate.closed {
		return 0, os.ErrClosed
	}
	n, err := w.to.Write(p)
	if err != nil && w.gate.failed == nil {
		w.gate.failed = err
	}
	return n, err
}

// limited keeps everything up to max bytes and refuses what goes over.
type limited struct {
	buf bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.buf.Len()+len(p) > l.max {
		return 0, ErrTooLong
	}
	return l.buf.Write(p)
}

// excerpt keeps the beginning and the end of what is written to it.
type excerpt struct {
	head, tail []byte
	dropped    int
}

const (
	headSize = 8 << 10
	tailSize = 24 << 10
)

func (e *excerpt) Write(p []byte) (int, error) {
	n := len(p)
	room := min(headSize-len(e.head), len(p))
	e.head = append(e.head, p[:room]...)
	e.tail = append(e.tail, p[room:]...)
	if over := len(e.tail) - tailSize; over > tailSize {
		e.dropped += over
		e.tail = append(e.tail[:0], e.tail[over:]...)
	}
	return n, nil
}

func (e *excerpt) String() string {
	tail, dropped := e.tail, e.dropped
	if over := len(tail) - tailSize; over > 0 {
		tail, dropped = tail[over:], dropped+over
	}
	if dropped == 0 {
		return string(e.head) + string(tail)
	}
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", e.head, dropped, tail)
}
