// Package transport is package replicate over a byte stream: what Serve serves at one end, a Client has at the other. Who pushes
// has a replicate.Target in it, who pulls a replicate.Source.
//
// # The protocol
//
// Each side first writes the eight bytes of the preamble, which hold the version; nobody waits for an answer. Then the stream
// carries yamux, whose streams are requests, all opened by the client: a frame with a request as JSON, perhaps a body in
// chunks from either side, and an answer as JSON. What was sent as a whole ends with a chunk of length zero, so that a
// connection that broke is never taken for the end.
//
// # Trust
//
// Serve believes nothing that it reads: frames have limits, what is named is checked by the place, and what is not granted is
// refused before anything is looked at. A client cannot name a path, a property or a command; there is no request for one, and
// none that destroys. A Client believes as little: what it is told of snapshots is compared with what it has, and what it
// fetches is checked as it arrives.
//
// # What it costs
//
// To be up to date costs one connection and one request.
package transport

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/volsnap/volsnap/replicate"
)

// What callers branch on.
var (
	ErrNotVolsnap = errors.New("the other side is not `volsnap serve`")
	ErrVersion    = errors.New("the other side speaks another version of the protocol")
	ErrForbidden  = replicate.ErrForbidden
	ErrProtocol   = errors.New("protocol error")
)

const (
	magic   = "VOLSNAP"
	version = '1'

	requestLimit = 8 << 20  // bytes: a manifest is the largest
	answerLimit  = 64 << 20 // bytes: the listing of 100,000 snapshots
	chunkSize    = 256 << 10
	windowSize   = 2 << 20 // bytes of a stream that may be on their way
)

// How long the other side may let us wait: for an answer, or until it takes the next piece of a body; and for the next piece of one
// that it gives, which it may have to look for in a storage where little has changed. One that keeps the connection alive and does
// nothing must not keep everything else from its turn.
const (
	silence = 15 * time.Minute
	search  = time.Hour
)

var errSilent = errors.New("the connection is alive, and the other side does nothing")

const greeting = magic + string(version)

// preamble writes our greeting, and reads that of the other side.
func preamble(rw io.ReadWriter) error {
	if _, err := rw.Write([]byte(greeting)); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	return readGreeting(rw)
}

func readGreeting(r io.Reader) error {
	got := make([]byte, len(greeting))
	n, err := io.ReadFull(r, got)
	switch {
	case errors.Is(err, io.EOF) && n == 0:
		return fmt.Errorf("%w: it said nothing", ErrNotVolsnap)
	case err != nil && n == 0:
		return err // which says why, as that of ssh does
	case err != nil || string(got[:len(magic)]) != magic:
		return fmt.Errorf("%w: it began with %q", ErrNotVolsnap, got[:n])
	case string(got) != greeting:
		return fmt.Errorf("%w: %q, and this is %q", ErrVersion, got[len(magic):], version)
	}
	return nil
}

func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.MaxStreamWindowSize = windowSize
	c.ConnectionWriteTimeout = time.Minute // a slow line is no dead one
	c.KeepAliveInterval = 15 * time.Second
	c.StreamOpenTimeout = 0  // an answer may take hours
	c.StreamCloseTimeout = 0 // the other side may be at work on the last of it
	c.LogOutput = io.Discard
	return c
}
