package driver

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// SetID names a set: "<app>-<UTC time to the millisecond>", for example "ccn-20261121T020000.123Z". A SetID made by
// NewSetID or ParseSetID is well formed; as text it is safe in a path, in a ZFS name and on a command line.
type SetID string

const (
	prefix     = "volsnap-"
	timeLayout = "20060102T150405.000Z"
)

var appPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// ValidApp reports whether name is an app name: 1 to 32 of a-z, 0-9 and "-", with no "-" at either end.
func ValidApp(name string) bool { return appPattern.MatchString(name) }

// NewSetID is the id of the set of app that was begun at t, which is cut to the millisecond.
func NewSetID(app string, t time.Time) (SetID, error) {
	return ParseSetID(app + "-" + t.UTC().Truncate(time.Millisecond).Format(timeLayout))
}

// ParseSetID accepts exactly what NewSetID makes.
func ParseSetID(s string) (SetID, error) {
	app, stamp, ok := split(s)
	if !ok || !ValidApp(app) {
		return "", fmt.Errorf("%q is no set id: want APP-YYYYMMDDTHHMMSS.mmmZ", s)
	}
	t, err := time.Parse(timeLayout, stamp)
	if err != nil || t.Format(timeLayout) != stamp || t.Year() < 1970 {
		return "", fmt.Errorf("%q is no set id: %q is no time YYYYMMDDTHHMMSS.mmmZ", s, stamp)
	}
	return SetID(s), nil
}

func split(s string) (app, stamp string, ok bool) {
	cut := len(s) - len(timeLayout)
	if cut < 2 || s[cut-1] != '-' {
		return "", "", false
	}
	return s[:cut-1], s[cut:], true
}

// App is the app that the set belongs to.
func (id SetID) App() string {
	app, _, _ := split(string(id))
	return app
}

// Time is when the set was begun, in UTC, to the millisecond.
func (id SetID) Time() time.Time {
	_, stamp, _ := split(string(id))
	t, _ := time.Parse(timeLayout, stamp)
	return t
}

// SnapshotName is the last element of the name of every snapshot of the set: "volsnap-<set id>".
func (id SetID) SnapshotName() string { return prefix + string(id) }

// ParseName is the inverse of SnapshotName. A snapshot whose name it refuses is not volsnap's.
func ParseName(name string) (SetID, error) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", fmt.Errorf("%q: %w", name, ErrForeign)
	}
	id, err := ParseSetID(rest)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return id, nil
}
