package btrfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// token says what is kept of a stream: how many bytes, and their SHA-256. As text it is "BYTES:HEX".
type token struct {
	bytes int64
	sum   [sha256.Size]byte
}

func (t token) String() string { return fmt.Sprintf("%d:%x", t.bytes, t.sum) }

// parseToken accepts exactly what String makes, of something. All else is ErrStale.
func parseToken(s string) (token, error) {
	size, sum, _ := strings.Cut(s, ":")
	var t token
	var err error
	if t.bytes, err = strconv.ParseInt(size, 10, 64); err == nil && t.bytes > 0 && len(sum) == 2*sha256.Size {
		_, err = hex.Decode(t.sum[:], []byte(sum))
	}
	if err != nil || t.String() != s {
		return token{}, fmt.Errorf("token %.100q: %w", s, driver.ErrStale)
	}
	return t, nil
}

// skipper passes on what follows in a stream after what a token says is kept, and compares that with it. ErrStale: it is
// another stream, and nothing was written.
type skipper struct {
	w    io.Writer
	kept token
	left int64 // of what is kept
	sum  hash.Hash
}

func newSkipper(w io.Writer, kept token) *skipper {
	return &skipper{w: w, kept: kept, left: kept.bytes, sum: sha256.New()}
}

func (s *skipper) Write(p []byte) (int, error) {
	n := int(min(s.left, int64(len(p))))
	if n > 0 {
		_, _ = s.sum.Write(p[:n]) // a hash does not fail
		if s.left -= int64(n); s.left > 0 {
			return len(p), nil
		}
		if err := s.compare(); err != nil {
			return 0, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	m, err := s.w.Write(p[n:])
	return n + m, err
}

func (s *skipper) compare() error {
	if [sha256.Size]byte(s.sum.Sum(nil)) != s.kept.sum {
		return fmt.Errorf("the stream is not the one whose first %d bytes were kept: %w", s.kept.bytes, driver.ErrStale)
	}
	return nil
}

// end is an error if the stream had less than what is kept.
func (s *skipper) end() error {
	if s.left > 0 {
		return fmt.Errorf("the stream is shorter than what was kept: %w", driver.ErrStale)
	}
	return nil
}
