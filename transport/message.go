package transport

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
)

// The requests.
const (
	opList    = "list"
	opReceive = "receive" // with a body
	opCommit  = "commit"
	opSend    = "send" // answered with a body
	opDigest  = "digest"
	opPin     = "pin"
	opUnpin   = "unpin"
	opDestroy = "destroy" // is refused to everybody; asked for by `volsnap check`
)

// request is what a client asks for; which fields are used depends on Op.
type request struct {
	Op        string                 `json:"op"`
	Origin    bool                   `json:"origin,omitempty"` // of the host's own sets, not of the replicas that it keeps
	App       string                 `json:"app,omitempty"`
	Manifests bool                   `json:"manifests,omitempty"`
	Receive   *driver.ReceiveRequest `json:"receive,omitempty"`
	Send      *driver.SendRequest    `json:"send,omitempty"`
	Manifest  *snapset.Manifest      `json:"manifest,omitempty"`
	Snapshot  *driver.Snapshot       `json:"snapshot,omitempty"` // to pin, unpin or read
	Reason    string                 `json:"reason,omitempty"`   // of a pin
}

// answer is what comes back.
type answer struct {
	Error    string             `json:"error,omitempty"`
	Kinds    []string           `json:"kinds,omitempty"` // of the error: names of sentinels
	Listing  *replicate.Listing `json:"listing,omitempty"`
	Snapshot *driver.Snapshot   `json:"snapshot,omitempty"`
	Digest   *tree.Digest       `json:"digest,omitempty"`
}

// sentinels are the errors that callers branch on, by their names on the wire.
var sentinels = []struct {
	name string
	err  error
}{
	{"not found", driver.ErrNotFound},
	{"exists", driver.ErrExists},
	{"busy", driver.ErrBusy},
	{"no space", driver.ErrNoSpace},
	{"foreign", driver.ErrForeign},
	{"not supported", driver.ErrNotSupported},
	{"bad pin", driver.ErrBadPin},
	{"diverged", driver.ErrDiverged},
	{"bad stream", driver.ErrBadStream},
	{"stale", driver.ErrStale},
	{"not whole", replicate.ErrNotWhole},
	{"forbidden", ErrForbidden},
	{"protocol", ErrProtocol},
}

const errorLimit = 4 << 10 // bytes of an error's text

func answerOf(err error) answer {
	a := answer{Error: err.Error()}
	if len(a.Error) > errorLimit {
		a.Error = a.Error[:errorLimit]
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			a.Kinds = append(a.Kinds, s.name)
		}
	}
	return a
}

// err is the error that the other side answered with.
func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	e := &remoteError{text: strings.Map(plain, a.Error)}
	for _, s := range sentinels {
		for _, name := range a.Kinds {
			if name == s.name {
				e.is = append(e.is, s.err)
			}
		}
	}
	return e
}

// plain makes one line of what the other side says, which could be meant to look like several.
func plain(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// remoteError is an error of the other side, with the sentinels that it wrapped there.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return "the other side: " + e.text }
func (e *remoteError) Unwrap() []error { return e.is }

func writeMessage(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return nil
}

// readMessage reads a message of at most limit bytes. Its memory grows with what has come, not with what was announced.
func readMessage(r io.Reader, limit uint32, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read a message: %w", broken(err))
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > limit {
		return fmt.Errorf("%w: a message of %d bytes, and at most %d are taken", ErrProtocol, size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(data) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return nil
}
