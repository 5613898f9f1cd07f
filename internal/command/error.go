package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// Error is a program that did not do its work. Err is the reason if it is another than the program's own exit status: the
// error of the context, ErrNotFound, ErrTooLong, ErrStillRunning, or that of a reader or writer.
type Error struct {
	Argv   []string
	Exit   int            // its exit status; -1 if it has none
	Signal syscall.Signal // what ended it, or 0
	Stderr string         // as in Output
	Err    error
}

// Error is one line: the command, what became of it, and the end of what it said.
func (e *Error) Error() string {
	parts := []string{Quote(e.Argv)}
	if e.Err != nil {
		parts = append(parts, strings.ReplaceAll(e.Err.Error(), "\n", "; "))
	}
	switch {
	case e.Signal != 0:
		parts = append(parts, fmt.Sprintf("ended by signal %d (%s)", int(e.Signal), e.Signal))
	case e.Exit > 0:
		parts = append(parts, fmt.Sprintf("exit status %d", e.Exit))
	}
	if said := oneLine(e.Stderr); said != "" {
		parts = append(parts, said)
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Quote renders a command for people, at most about 200 characters of it. Arguments that are not plain words are quoted
// as in Go. It is no input for a shell.
func Quote(argv []string) string {
	const enough = 200
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = arg
		if arg == "" || strings.ContainsFunc(arg, unusual) {
			words[i] = strconv.Quote(arg)
		}
	}
	return clip(strings.Join(words, " "), enough, false)
}

func unusual(r rune) bool {
	return !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune("\"'`\\$&|;<>()*?", r)
}

// oneLine keeps the end of a message, which is where programs say why they gave up.
func oneLine(s string) string {
	const enough = 400
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	clean := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.Map(clean, line))
	}
	return clip(strings.Join(lines, "; "), enough, true)
}

// clip shortens s to about limit bytes, and keeps its end or its beginning.
func clip(s string, limit int, keepEnd bool) string {
	switch {
	case len(s) <= limit:
		return s
	case keepEnd:
		return "…" + strings.ToValidUTF8(s[len(s)-limit:], "")
	default:
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
}

// startError makes "not installed" one error, whether a name was not found in PATH or a path does not exist.
func startError(err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	var lookup *exec.Error
	if errors.As(err, &lookup) {
		return lookup.Err // its name is in Argv already
	}
	return err
}
