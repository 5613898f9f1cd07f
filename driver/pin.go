package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const maxPin = 200

// ErrBadPin is what CheckPin refuses with.
var ErrBadPin = errors.New("bad reason for a pin")

// CheckPin accepts what may be the reason of a pin: 1 to 200 bytes of UTF-8 without control characters. Drivers refuse
// whatever it refuses.
func CheckPin(reason string) error {
	if reason == "" || len(reason) > maxPin {
		return fmt.Errorf("%w: want 1 to %d bytes, not %d", ErrBadPin, maxPin, len(reason))
	}
	if !utf8.ValidString(reason) {
		return fmt.Errorf("%w: %q is not UTF-8", ErrBadPin, reason)
	}
	for _, r := range reason {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: %q has the control character %U", ErrBadPin, reason, r)
		}
	}
	return nil
}

// basePrefix begins the pins that Base makes. An operator's reason may not begin like it.
const basePrefix = "base of target "

// Base is the pin that keeps a set because the named target has it, or is about to have it, and the next one builds on it.
func Base(target string) string { return basePrefix + target }

// BaseOf is the target that a pin of Base names.
func BaseOf(pin string) (target string, ok bool) { return strings.CutPrefix(pin, basePrefix) }

// undoPrefix begins the pins that Undo makes.
const undoPrefix = "undo of the restore of "

// Undo is the pin that keeps what a restore of a set replaced, until that is deleted by name.
func Undo(of SetID) string { return undoPrefix + string(of) }

// IsUndo reports whether a pin is one of Undo.
func IsUndo(pin string) bool { return strings.HasPrefix(pin, undoPrefix) }

// guardPrefix begins the pins that Guard makes.
const guardPrefix = "guard until "

// Guard is the pin that keeps what was taken before a command, until a time, which counts by the second. From then on it keeps nothing.
func Guard(until time.Time) string { return guardPrefix + until.UTC().Format(time.RFC3339) }

// GuardUntil is the time of a pin of Guard. What merely looks like one is none, and keeps its set for ever.
func GuardUntil(pin string) (until time.Time, ok bool) {
	at, is := strings.CutPrefix(pin, guardPrefix)
	if !is {
		return time.Time{}, false
	}
	until, err := time.Parse(time.RFC3339, at)
	return until, err == nil && Guard(until) == pin
}

// OwnPin reports whether a reason begins like those that volsnap itself gives, which are not an operator's to give.
func OwnPin(reason string) bool {
	return slices.ContainsFunc([]string{basePrefix, undoPrefix, guardPrefix}, func(own string) bool { return strings.HasPrefix(reason, own) })
}
