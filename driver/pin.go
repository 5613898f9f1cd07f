package driver

import (
	"errors"
	"fmt"
	"strings"
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
