package transport

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
)

// Send has the other side send a snapshot of a place to us: what it has of ours.
func (c *Client) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	return c.fetch(ctx, request{Op: opSend, Send: &req}, w)
}

// Origin is what the other side lets us fetch of its own sets.
type Origin struct{ client *Client }

// Origin has the other side's own sets.
func (c *Client) Origin() Origin { return Origin{c} }

// List is replicate.Origin's.
func (o Origin) List(ctx context.Context, app string) (replicate.Listing, error) {
	a, err := o.client.ask(ctx, request{Op: opList, Origin: true, App: app}, nil)
	if err == nil && a.Listing == nil {
		err = fmt.Errorf("%w: an answer without a listing", ErrProtocol)
	}
	if err != nil {
		return replicate.Listing{}, err
	}
	return *a.Listing, nil
}

// Source is a storage of the other side.
func (o Origin) Source(kind string) replicate.Source { return source{o.client, kind} }

type source struct {
	client *Client
	kind   string
}

// Kind implements replicate.Source.
func (s source) Kind() string { return s.kind }

// Send implements replicate.Source.
func (s source) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	return s.client.fetch(ctx, request{Op: opSend, Origin: true, Send: &req}, w)
}

// Pin implements replicate.Source.
func (s source) Pin(ctx context.Context, one driver.Snapshot, reason string) error {
	_, err := s.client.ask(ctx, request{Op: opPin, Origin: true, Snapshot: &one, Reason: reason}, nil)
	return err
}

// Unpin implements replicate.Source.
func (s source) Unpin(ctx context.Context, one driver.Snapshot, reason string) error {
	_, err := s.client.ask(ctx, request{Op: opUnpin, Origin: true, Snapshot: &one, Reason: reason}, nil)
	return err
}

// fetch makes a request that is answered with a body, which it writes to w.
func (c *Client) fetch(ctx context.Context, req request, w io.Writer) error {
	wctx, silent := watched(ctx, c.search)
	defer silent.end()
	a, err := c.download(wctx, silent, req, w)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(wctx), errSilent):
		return errSilent
	case errors.As(err, new(writeError)):
		return err
	case err != nil && c.conn.failed() != nil:
		return c.conn.failed()
	case err != nil:
		return fmt.Errorf("connection: %w", err)
	}
	return a.err()
}

// writeError is that of whoever takes a body.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// taking marks the errors of a writer.
type taking struct{ io.Writer }

func (t taking) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	if err != nil {
		err = writeError{err}
	}
	return n, err
}

func (c *Client) download(ctx context.Context, silent *watch, req request, w io.Writer) (answer, error) {
	s, err := c.begin(ctx)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = s.Close() }() // lets the other side stop, if it has not
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(past) })
	defer stop()
	if err := writeMessage(taker{s, silent}, req); err != nil {
		return answer{}, err
	}
	from := giver{s, silent}
	chunks, err := newChunkReader(from)
	if err != nil {
		return answer{}, err
	}
	switch _, err := io.CopyBuffer(taking{w}, chunks, make([]byte, copySize)); {
	case errors.Is(err, errGivenUp):
		a, err := readAnswer(from)
		if err == nil && a.Error == "" {
			err = fmt.Errorf("%w: a stream was given up, and nothing says why", ErrProtocol)
		}
		return a, err
	case err != nil:
		return answer{}, err
	}
	return readAnswer(from)
}
