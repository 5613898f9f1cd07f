package replicatest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
)

// The directions of a line.
const (
	up   = 0 // to the target
	down = 1
)

// event is what happens once that many bytes have gone over a line in one direction. It returns what becomes of the line.
type event struct {
	dir int
	at  int64
	do  func() fate
}

// fate is what becomes of a line after an event.
type fate int

const (
	goesOn fate = iota
	breaks      // both ends see it
	hangs       // nobody sees anything, and nothing passes any more
)

// line is a proxy on loopback.
type line struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	passed [2]int64
	event  *event
	acting sync.WaitGroup    // events that are happening
	open   map[net.Conn]bool // false: nothing passes any more
	hung   chan struct{}     // closed when what hangs breaks in the end
	wg     sync.WaitGroup
}

// startLine starts a line to a port of loopback, and ends it with the test.
func startLine(t *testing.T, to int) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{l: l, to: fmt.Sprintf("127.0.0.1:%d", to), open: map[net.Conn]bool{}, hung: make(chan struct{})}
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		_ = n.l.Close() // which ends accept
		n.disarm()
		n.release()
		n.breakAll()
		n.wg.Wait()
	})
	return n
}

// arm sets the counters to zero, and says what is to happen next; nil: nothing.
func (n *line) arm(e *event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.passed, n.event = [2]int64{}, e
}

// disarm forgets what has not happened, and tells what has passed, and whether the event came.
func (n *line) disarm() (passed [2]int64, came bool) {
	n.mu.Lock()
	came = n.event == nil
	n.event = nil
	n.mu.Unlock()
	n.acting.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.passed, came
}

// release breaks what hangs.
func (n *line) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.hung)
	n.hung = make(chan struct{})
}

func (n *line) accept() {
	for {
		near, err := n.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", n.to)
		if err != nil {
			_ = near.Close() // as if nobody had been there
			continue
		}
		n.mu.Lock()
		n.open[near], n.open[far] = true, true
		n.mu.Unlock()
		n.wg.Go(func() { n.carry(up, near, far) })
		n.wg.Go(func() { n.carry(down, far, near) })
	}
}

// carry passes on what comes from one end, and then that it has ended.
func (n *line) carry(dir int, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		got, err := from.Read(buf)
		if got > 0 && !n.pass(dir, buf[:got], from, to) {
			return
		}
		if err != nil {
			if half, ok := to.(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
			return
		}
	}
}

// pass passes on a piece, with what happens in the middle of it.
func (n *line) pass(dir int, piece []byte, from, to net.Conn) bool {
	before, e, hung := n.claim(dir, int64(len(piece)), from)
	if before < 0 {
		<-hung
		n.reset(from, to)
		return false
	}
	if _, err := to.Write(piece[:before]); err != nil {
		n.reset(from, to)
		return false
	}
	if e == nil {
		return true
	}
	after := e.do()
	n.acting.Done()
	switch after {
	case breaks:
		n.reset(from, to)
		return false
	case hangs:
		n.stop(from, to)
		<-hung
		n.reset(from, to)
		return false
	case goesOn:
	}
	if _, err := to.Write(piece[before:]); err != nil {
		n.reset(from, to)
		return false
	}
	n.mu.Lock()
	n.passed[dir] += int64(len(piece)) - before
	n.mu.Unlock()
	return true
}

// claim counts a piece up to where something happens in it. It is less than nothing that passes where the connection hangs.
func (n *line) claim(dir int, size int64, from net.Conn) (before int64, e *event, hung chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if passes, is := n.open[from]; is && !passes {
		return -1, nil, n.hung
	}
	before = size
	if n.event != nil && n.event.dir == dir && n.passed[dir]+size > n.event.at {
		before = n.event.at - n.passed[dir]
		e, n.event = n.event, nil
		n.acting.Add(1)
	}
	n.passed[dir] += before
	return before, e, n.hung
}

// stop lets nothing pass any more, in either direction.
func (n *line) stop(ends ...net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range ends {
		n.open[c] = false
	}
}

// reset breaks a connection the hard way: what is under way is lost.
func (n *line) reset(ends ...net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range ends {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = errors.Join(tcp.SetLinger(0), tcp.Close()) // it may be closed
		}
		delete(n.open, c)
	}
}

func (n *line) breakAll() {
	n.mu.Lock()
	var all []net.Conn
	for c := range n.open {
		all = append(all, c)
	}
	n.mu.Unlock()
	n.reset(all...)
}
