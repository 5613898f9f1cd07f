package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/replicate"
)

// Grant says what a client may do. The zero value lets it list, send, and have sets committed that it has sent as a whole.
type Grant struct {
	Change bool // seal, unseal, destroy, pin and unpin as well
}

const requestsAtOnce = 16

// Serve answers one client until it goes, or ctx ends, and returns after every request that was under way has ended. That the
// client goes is no error.
func Serve(ctx context.Context, place *replicate.Place, grant Grant, conn io.ReadWriteCloser) (err error) {
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
			serveOne(ctx, place, grant, s)
			return nil
		})
	}
}

func serveOne(ctx context.Context, place *replicate.Place, grant Grant, s net.Conn) {
	defer func() { _ = s.Close() }() // the answer has been written, or there is nobody to read it
	var req request
	err := readMessage(s, requestLimit, &req)
	var a answer
	if err == nil {
		a, err = handle(ctx, place, grant, req, s)
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

func handle(ctx context.Context, place *replicate.Place, grant Grant, req request, body io.Reader) (answer, error) {
	switch req.Op {
	case opList:
		l, err := place.List(ctx, req.App, req.Manifests)
		return answer{Listing: &l}, err
	case opReceive:
		return receive(ctx, place, req, body)
	case opCommit:
		if req.Manifest == nil {
			return answer{}, fmt.Errorf("%w: a commit without a manifest", ErrProtocol)
		}
		return answer{}, place.Commit(ctx, req.Manifest)
	case opSeal, opUnseal, opDestroy, opPin, opUnpin:
		if !grant.Change {
			return answer{}, fmt.Errorf("%s: %w", req.Op, ErrForbidden)
		}
		return answer{}, change(ctx, place, req)
	}
	return answer{}, fmt.Errorf("%w: no such request: %q", ErrProtocol, req.Op)
}

func receive(ctx context.Context, place *replicate.Place, req request, body io.Reader) (answer, error) {
	if req.Receive == nil {
		return answer{}, fmt.Errorf("%w: nothing says what is to be received", ErrProtocol)
	}
	chunks := &chunkReader{r: body}
	var r io.Reader = chunks
	if req.Compressed {
		z, err := zstd.NewReader(chunks, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4*windowSize), zstd.WithDecoderMaxWindow(windowSize))
		if err != nil {
			return answer{}, err
		}
		defer z.Close()
		r = whole{z, chunks}
	}
	s, err := place.Receive(ctx, *req.Receive, r)
	return answer{Snapshot: &s}, err
}

func change(ctx context.Context, place *replicate.Place, req request) error {
	i := -1
	for k, r := range place.Receivers {
		if r.Kind() == req.Kind {
			i = k
		}
	}
	if i < 0 || len(req.Snapshots) == 0 {
		return fmt.Errorf("%s of %d snapshots of %q: %w", req.Op, len(req.Snapshots), req.Kind, driver.ErrNotSupported)
	}
	r := place.Receivers[i]
	switch req.Op {
	case opSeal:
		return r.Seal(ctx, req.Class, req.Snapshots...)
	case opUnseal:
		return r.Unseal(ctx, req.Snapshots...)
	case opDestroy:
		return r.Destroy(ctx, req.Snapshots...)
	case opPin:
		return r.Pin(ctx, req.Snapshots[0], req.Reason)
	default:
		return r.Unpin(ctx, req.Snapshots[0], req.Reason)
	}
}
