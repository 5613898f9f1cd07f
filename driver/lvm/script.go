package lvm

import (
	"context"
	"io"
	"strings"
	"sync"
)

// mark is a command of LVM's shell that looks at nothing and prints one line, by which we see that the one before it has
// ended. The shell itself says nothing, and reads ahead of nothing (lib/misc: it takes single bytes from stdin).
const (
	mark   = "formats"
	marked = "lvm2"
)

// script is stdin and stdout of LVM's shell.
type script struct {
	ctx   context.Context
	lines []string
	rest  []byte // of the line that is being read
	ended chan struct{}

	mu      sync.Mutex
	out     strings.Builder
	scanned int
}

func newScript(ctx context.Context, lines []string) *script {
	s := &script{ctx: ctx, lines: lines, ended: make(chan struct{}, len(lines)+1)}
	s.ended <- struct{}{}
	return s
}

// Read implements io.Reader. It blocks until the line before has ended.
func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if len(s.lines) == 0 || s.ctx.Err() != nil {
			return 0, io.EOF
		}
		select {
		case <-s.ctx.Done():
			return 0, io.EOF
		case <-s.ended:
		}
		s.rest = []byte(s.lines[0] + "\n" + mark + "\n")
		s.lines = s.lines[1:]
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write implements io.Writer.
func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Write(p)
	for {
		line, _, whole := strings.Cut(s.out.String()[s.scanned:], "\n")
		if !whole {
			return len(p), nil
		}
		s.scanned += len(line) + 1
		if strings.TrimSpace(line) != marked {
			continue
		}
		select {
		case s.ended <- struct{}{}:
		default: // more marks than lines: not ours to wait for
		}
	}
}

func (s *script) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}
