package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/replicate"
)

// Served is what a client is served with. What is nil is refused.
type Served struct {
	Place  *replicate.Place  // it may list and fetch what it has sent, send, and have sets committed that it has sent as a whole
	Origin *replicate.Origin // it may list and fetch these, and keep what it needs as bases
}

const requestsAtOnce = 16

// Serve answers one client until it goes, or ctx ends, and returns after every request that was under way has ended. That the
// client goes is no error.
func Serve(ctx context.Context, what Served, conn io.ReadWriteCloser) (err error) {
	heard := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it may say nothing at all
	err = preamble(conn)
	heard()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	session, err := yamux.Server(conn, muxConfig())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	var g errgroup.Group
	g.SetLimit(requestsAtOnce)
	defer func() {
		_ = session.Close() // whoever is still there is told by the end of the stream
		cancel()
		_ = g.Wait() // no request fails the connection
	}()
	for {
		s, err := session.AcceptStreamWithContext(ctx)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, yamux.ErrSessionShutdown):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("accept a request: %w", err)
		}
		g.Go(func() error {
			serveOne(ctx, what, s)
			return nil
		})
	}
}

func serveOne(ctx context.Context, what Served, s net.Conn) {
	defer func() { _ = s.Close() }() // the answer has been written, or there is nobody to read it
	var req request
	err := readMessage(s, requestLimit, &req)
	var a answer
	if err == nil {
		a, err = what.handle(ctx, req, s)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("request", req.Op).Msg("refused or failed")
		a = answerOf(err)
	}
	fault.Point("before an answer")
	if err := writeMessage(s, a); err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("request", req.Op).Msg("nobody takes the answer")
	}
}

func (w Served) handle(ctx context.Context, req request, s net.Conn) (answer, error) {
	switch {
	case req.Op == opDestroy:
	case req.Origin && w.Origin != nil:
		return fromOrigin(ctx, w.Origin, req, s)
	case !req.Origin && w.Place != nil:
		return atPlace(ctx, w.Place, req, s)
	}
	return answer{}, fmt.Errorf("%s: %w", req.Op, ErrForbidden)
}

func atPlace(ctx context.Context, place *replicate.Place, req request, s net.Conn) (answer, error) {
	switch req.Op {
	case opList:
		l, err := place.List(ctx, req.App, req.Manifests)
		return answer{Listing: &l}, err
	case opReceive:
		return receive(ctx, place, req, s)
	case opCommit:
		if req.Manifest == nil {
			return answer{}, fmt.Errorf("%w: a commit without a manifest", ErrProtocol)
		}
		return answer{}, place.Commit(ctx, req.Manifest)
	case opSend:
		return answer{}, send(ctx, place.Send, req, s)
	case opDigest:
		if req.Snapshot == nil {
			return answer{}, fmt.Errorf("%w: the digest of nothing", ErrProtocol)
		}
		d, err := place.Digest(ctx, *req.Snapshot)
		return answer{Digest: &d}, err
	case opPin, opUnpin:
		return answer{}, fmt.Errorf("%s: %w", req.Op, ErrForbidden)
	}
	return answer{}, fmt.Errorf("%w: no such request: %q", ErrProtocol, req.Op)
}

func fromOrigin(ctx context.Context, origin *replicate.Origin, req request, s net.Conn) (answer, error) {
	switch req.Op {
	case opList:
		l, err := origin.List(ctx, req.App)
		return answer{Listing: &l}, err
	case opSend:
		return answer{}, send(ctx, origin.Send, req, s)
	case opPin, opUnpin:
		if req.Snapshot == nil {
			return answer{}, fmt.Errorf("%w: %s of nothing", ErrProtocol, req.Op)
		}
		if req.Op == opPin {
			return answer{}, origin.Pin(ctx, *req.Snapshot, req.Reason)
		}
		return answer{}, origin.Unpin(ctx, *req.Snapshot, req.Reason)
	case opReceive, opCommit, opDigest:
		return answer{}, fmt.Errorf("%s: %w", req.Op, ErrForbidden)
	}
	return answer{}, fmt.Errorf("%w: no such request: %q", ErrProtocol, req.Op)
}

// send answers with a stream, until the client closes its end.
func send(ctx context.Context, from func(context.Context, driver.SendRequest, io.Writer) error, req request, s net.Conn) error {
	if req.Send == nil {
		return fmt.Errorf("%w: nothing says what is to be sent", ErrProtocol)
	}
	ctx, w := watched(ctx, silence)
	defer w.end()
	go func() {
		_, _ = s.Read(make([]byte, 1)) // returns when the client wants no more, or by the end of the request
		w.end()
	}()
	stop := context.AfterFunc(ctx, func() { _ = s.SetWriteDeadline(past) })
	defer stop()
	chunks, err := newChunkWriter(taker{s, w})
	if err != nil {
		return err
	}
	if err := from(ctx, *req.Send, chunks); err != nil {
		return errors.Join(err, chunks.abort())
	}
	return chunks.finish()
}

func receive(ctx context.Context, place *replicate.Place, req request, body io.Reader) (answer, error) {
	if req.Receive == nil {
		return answer{}, fmt.Errorf("%w: nothing says what is to be received", ErrProtocol)
	}
	chunks, err := newChunkReader(body)
	if err != nil {
		return answer{}, err
	}
	s, err := place.Receive(ctx, *req.Receive, chunks)
	return answer{Snapshot: &s}, err
}
