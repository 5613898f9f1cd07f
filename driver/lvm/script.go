package lvm

import (
	"context"
	"errors"
	"io"
	"strings"
)

// mark is a command of LVM's shell that looks at nothing and prints one line, by which we see that the one before it has
// ended. The shell itself says nothing, and reads ahead of nothing (lib/misc: it takes single bytes from stdin).
const (
	mark   = "formats"
	marked = "lvm2"
)

// script is what LVM's shell is fed with, and its stdout.
type script struct {
	lines []string
	ended chan struct{}
	rest  string // of stdout: a line that has not ended
}

func newScript(lines []string) *script {
	s := &script{lines: lines, ended: make(chan struct{}, len(lines)+1)}
	s.ended <- struct{}{}
	return s
}

// feed writes each line once the one before has ended, until ctx ends, and closes to.
func (s *script) feed(ctx context.Context, to io.WriteCloser) error {
	for _, line := range s.lines {
		select {
		case <-ctx.Done():
		case <-s.ended:
		}
		if ctx.Err() != nil {
			break
		}
		if _, err := io.WriteString(to, line+"\n"+mark+"\n"); err != nil {
			return errors.Join(err, to.Close())
		}
	}
	return to.Close()
}

// Write implements io.Writer.
func (s *script) Write(p []byte) (int, error) {
	s.rest += string(p)
	for {
		line, rest, whole := strings.Cut(s.rest, "\n")
		if !whole {
			return len(p), nil
		}
		s.rest = rest
		if strings.TrimSpace(line) != marked {
			continue
		}
		select {
		case s.ended <- struct{}{}:
		default: // more marks than lines: not ours to wait for
		}
	}
}
