package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
)

// Client is the sending side's end of a connection. It is a replicate.Target.
type Client struct {
	conn     *greeted
	session  *yamux.Session
	requests atomic.Int64

	silence, search time.Duration // see there
}

var _ replicate.Target = (*Client)(nil)

// Open begins to speak over conn, which the client owns from now on. It waits for nothing: that the other side is not what it
// should be is said by the first request.
func Open(conn io.ReadWriteCloser) (*Client, error) {
	if _, err := conn.Write([]byte(greeting)); err != nil {
		if why := readGreeting(conn); why != nil { // it has gone, and may have said why
			err = why
		}
		return nil, errors.Join(err, conn.Close())
	}
	g := &greeted{ReadWriteCloser: conn}
	session, err := yamux.Client(g, muxConfig())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Client{conn: g, session: session, silence: silence, search: search}, nil
}

// Requests is how many requests were made, each a round trip.
func (c *Client) Requests() int { return int(c.requests.Load()) }

// Connections is 1: a Client is one connection.
func (c *Client) Connections() int { return 1 }

// Close ends the connection. What is under way breaks.
func (c *Client) Close() error { return c.session.Close() }

// greeted reads the other side's greeting before anything else.
type greeted struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	done bool
	err  error
}

func (g *greeted) Read(p []byte) (int, error) {
	if err := g.greet(); err != nil {
		return 0, err
	}
	return g.ReadWriteCloser.Read(p)
}

func (g *greeted) greet() error {
	if g.done { // only the session's reader comes here
		return nil
	}
	g.done = true
	err := readGreeting(g.ReadWriteCloser)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	return err
}

func (g *greeted) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// List implements replicate.Target.
func (c *Client) List(ctx context.Context, app string, manifests bool) (replicate.Listing, error) {
	a, err := c.ask(ctx, request{Op: opList, App: app, Manifests: manifests}, nil)
	if err == nil && a.Listing == nil {
		err = fmt.Errorf("%w: an answer without a listing", ErrProtocol)
	}
	if err != nil {
		return replicate.Listing{}, err
	}
	return *a.Listing, nil
}

// Receive implements replicate.Target.
func (c *Client) Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	a, err := c.ask(ctx, request{Op: opReceive, Receive: &req}, r)
	if err == nil && a.Snapshot == nil {
		err = fmt.Errorf("%w: an answer without a snapshot", ErrProtocol)
	}
	if err != nil {
		return driver.Snapshot{}, err
	}
	return *a.Snapshot, nil
}

// Commit implements replicate.Target.
func (c *Client) Commit(ctx context.Context, m *snapset.Manifest) error {
	_, err := c.ask(ctx, request{Op: opCommit, Manifest: m}, nil)
	return err
}

// Digest implements replicate.Target.
func (c *Client) Digest(ctx context.Context, s driver.Snapshot) (tree.Digest, error) {
	a, err := c.ask(ctx, request{Op: opDigest, Snapshot: &s}, nil)
	if err == nil && a.Digest == nil {
		err = fmt.Errorf("%w: an answer without a digest", ErrProtocol)
	}
	if err != nil {
		return tree.Digest{}, err
	}
	return *a.Digest, nil
}

// MayDestroy asks for what a backup server has to refuse to its client, and tells whether it does not.
func (c *Client) MayDestroy(ctx context.Context) (bool, error) {
	_, err := c.ask(ctx, request{Op: opDestroy}, nil)
	if errors.Is(err, ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}

// ask makes one request, with a body if there is one, and waits for the answer.
func (c *Client) ask(ctx context.Context, req request, body io.Reader) (answer, error) {
	wctx, w := watched(ctx, c.silence)
	defer w.end()
	a, err := c.exchange(wctx, w, req, body)
	switch {
	case ctx.Err() != nil:
		return answer{}, ctx.Err()
	case errors.Is(context.Cause(wctx), errSilent):
		return answer{}, errSilent
	case err != nil && c.conn.failed() != nil:
		return answer{}, c.conn.failed()
	case err != nil:
		return answer{}, fmt.Errorf("connection: %w", err)
	}
	return a, a.err()
}

// begin makes a request, unless ctx has ended.
func (c *Client) begin(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.requests.Add(1)
	return c.session.Open()
}

func (c *Client) exchange(ctx context.Context, w *watch, req request, body io.Reader) (answer, error) {
	s, err := c.begin(ctx)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = s.Close() }() // all that counts was answered, or failed
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(past) })
	defer stop()
	if err := writeMessage(taker{s, w}, req); err != nil {
		return answer{}, err
	}
	if body == nil {
		if req.Op != opDigest { // which reads a whole volume
			w.arm()
		}
		return readAnswer(s)
	}
	sending := make(chan error, 1)
	var answered atomic.Bool
	go func() {
		err := sendBody(taker{s, w}, stopping{body, &answered})
		if err != nil {
			_ = s.Close() // the other side sees that the body has no end, and answers
		}
		w.arm() // for the answer
		sending <- err
	}()
	a, err := readAnswer(s)
	_ = s.SetWriteDeadline(past) // who has answered reads no more
	answered.Store(true)
	if c, ok := body.(io.Closer); ok {
		_ = c.Close() // lets a Read that waits return
	}
	var sent error
	select {
	case sent = <-sending:
	case <-ctx.Done(): // and a Read may go on behind us
		return answer{}, ctx.Err()
	}
	switch {
	case sent == nil:
		return a, err
	case err != nil:
		return answer{}, errors.Join(sent, err)
	case a.Error == "":
		return answer{}, sent // they cannot have the whole
	case errors.As(sent, new(bodyError)):
		return answer{}, sent // and their error is only that the body has no end
	}
	return a, nil
}

// stopping is a body that ends when nobody wants more of it. How a Read ends that waited then, says nothing of the body.
type stopping struct {
	io.Reader
	stop *atomic.Bool
}

func (s stopping) Read(p []byte) (int, error) {
	if s.stop.Load() {
		return 0, io.ErrClosedPipe
	}
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !s.stop.Load() {
		err = bodyError{err}
	}
	return n, err
}

// bodyError is that of a body that could not be read.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

var past = time.Unix(1, 0)

func readAnswer(r io.Reader) (answer, error) {
	var a answer
	err := readMessage(r, answerLimit, &a)
	return a, err
}

// sendBody copies a body. One that cannot be read to its end has none on the other side either.
func sendBody(w io.Writer, body io.Reader) error {
	chunks, err := newChunkWriter(w)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{chunks}, struct{ io.Reader }{body}, make([]byte, copySize)); err != nil {
		return err
	}
	return chunks.finish()
}

const copySize = 128 << 10
