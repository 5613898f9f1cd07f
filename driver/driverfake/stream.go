package driverfake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// FormatTwo is a format that places of the fake read besides the oldest one. It differs in its number alone.
const FormatTwo = "fake-2"

// A stream is text: "volsnap-fake VERSION GUID BASE\n", then for each file that was changed "+ NAME SIZE\n" and its content, and
// for each that is gone "- NAME\n", names quoted, in order; then "end SHA256\n", of all before. The base is "-" if there is none.

// encode is the stream of a state on top of another one.
func encode(version int, guid, base string, files, on map[string]string) []byte {
	var b bytes.Buffer
	if base == "" {
		base = "-"
	}
	fmt.Fprintf(&b, "volsnap-fake %d %s %s\n", version, guid, base)
	names := map[string]bool{}
	for name := range files {
		names[name] = true
	}
	for name := range on {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		content, there := files[name]
		before, had := on[name]
		switch {
		case !there:
			fmt.Fprintf(&b, "- %q\n", name)
		case !had || before != content:
			fmt.Fprintf(&b, "+ %q %d\n%s\n", name, len(content), content)
		}
	}
	fmt.Fprintf(&b, "end %s\n", sum(b.Bytes()))
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

var errStream = errors.New("not a whole stream of the fake")

// decode is what a stream makes of its base.
func decode(stream []byte, guid, base string, on map[string]string) (map[string]string, error) {
	body, last, ok := cutLast(stream)
	if !ok || string(last) != "end "+sum(body)+"\n" {
		return nil, fmt.Errorf("%w: %w: its sum is wrong", driver.ErrBadStream, errStream)
	}
	head, rest, _ := strings.Cut(string(body), "\n")
	fields := strings.Fields(head)
	if base == "" {
		base = "-"
	}
	if len(fields) != 4 || fields[0] != "volsnap-fake" || fields[2] != guid || fields[3] != base {
		return nil, fmt.Errorf("%w: it is %q, announced was %s on %s", driver.ErrBadStream, head, guid, base)
	}
	files := maps.Clone(on)
	if files == nil {
		files = map[string]string{}
	}
	for rest != "" {
		var err error
		if rest, err = step(files, rest); err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrBadStream, err)
		}
	}
	return files, nil
}

// cutLast is a stream without its last line, and that line.
func cutLast(b []byte) (body, last []byte, ok bool) {
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return nil, nil, false
	}
	at := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
	return b[:at], b[at:], true
}

// step does the first line of what is left of a stream.
func step(files map[string]string, rest string) (string, error) {
	if len(rest) < 2 {
		return "", errStream
	}
	quoted, err := strconv.QuotedPrefix(rest[2:])
	if err != nil {
		return "", errStream
	}
	name, err := strconv.Unquote(quoted)
	line, after, ok := strings.Cut(rest[2+len(quoted):], "\n")
	if err != nil || !ok {
		return "", errStream
	}
	switch rest[:2] {
	case "- ":
		delete(files, name)
		return after, nil
	case "+ ":
		n, err := strconv.Atoi(strings.TrimPrefix(line, " "))
		if err != nil || n < 0 || n >= len(after) || after[n] != '\n' {
			return "", errStream
		}
		files[name] = after[:n]
		return after[n+1:], nil
	}
	return "", errStream
}

// tokenOf is the token of what is kept of a stream.
func tokenOf(kept []byte) string { return fmt.Sprintf("%d:%s", len(kept), sum(kept)) }

// skip is what follows in a stream after what a token says is kept.
func skip(stream []byte, token string) ([]byte, error) {
	size, _, _ := strings.Cut(token, ":")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > len(stream) || tokenOf(stream[:n]) != token {
		return nil, fmt.Errorf("token %q: %w", token, driver.ErrStale)
	}
	return stream[n:], nil
}
