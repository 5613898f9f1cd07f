package config

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/volsnap/volsnap/retention"
)

// value is a node with its place in the file, which is where its problems are reported.
type value struct {
	node
	where  string
	report *report
}

func (v value) fail(format string, args ...any) { v.report.add(v.line, v.where, format, args...) }

// at is the place of a key below v that need not exist.
func (v value) at(key string) value {
	where := v.where + element(key)
	if where[0] == '.' {
		where = where[1:]
	}
	return value{node: node{kind: none, line: v.line}, where: where, report: v.report}
}

// want reports a value of another kind than k, and shows what would be right.
func (v value) want(k kind, such string) bool {
	switch {
	case v.kind == k:
		return true
	case v.kind == none:
		v.fail("is empty: want %s such as %s", k, such)
	case k == text && (v.kind == number || v.kind == boolean):
		v.fail("want text, got %s: put it in quotes if it is meant", v.node)
	default:
		v.fail("want %s such as %s, got %s", k, such, v.node)
	}
	return false
}

// str is a text without unprintable characters. An empty one is reported too.
func (v value) str(such string) (string, bool) {
	if !v.want(text, such) {
		return "", false
	}
	switch {
	case v.text == "":
		v.fail("is empty: want text such as %s", such)
	case strings.ContainsFunc(v.text, isControl):
		v.fail("%s contains an unprintable character", quote(v.text))
	default:
		return v.text, true
	}
	return "", false
}

// isControl is true of line breaks and tabs too, and of what the YAML library puts in place of broken UTF-8.
func isControl(c rune) bool {
	return unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp) || c == unicode.ReplacementChar
}

// each calls fn for the items of a list; ok is false when it is no list.
func (v value) each(such string, fn func(value)) (ok bool) {
	if !v.want(list, such) {
		return false
	}
	for i, item := range v.items {
		fn(value{node: item, where: v.where + "[" + strconv.Itoa(i) + "]", report: v.report})
	}
	return true
}

// names reads a list of names, none of which may occur twice.
func (v value) names(such string, read func(value) (string, bool)) []string {
	var names []string
	seen := map[string]bool{}
	v.each(such, func(item value) {
		name, ok := read(item)
		switch {
		case !ok:
		case seen[name]:
			item.fail("%s is listed twice", quote(name))
		default:
			seen[name] = true
			names = append(names, name)
		}
	})
	return names
}

// count is a whole number from -1 to most.
func (v value) count(most int) int {
	n, err := strconv.Atoi(v.text)
	digits := v.plain && v.text != "" && strings.Trim(v.text, "0123456789-") == ""
	switch {
	case v.kind == number && err == nil && strconv.Itoa(n) == v.text && n >= -1 && n <= most:
		return n
	case v.kind == number && err == nil && strconv.Itoa(n) == v.text, v.kind == text && digits && n == math.MaxInt,
		v.kind == text && digits && n == math.MinInt:
		v.fail("%s is out of range: want 0 to %d, or -1 for without end", v.text, most)
	case v.kind == number:
		v.fail("want a whole number in decimal digits, got %s", v.text)
	default:
		v.want(number, "7")
	}
	return 0
}

// span is a length of time between two bounds.
func (v value) span(least, most time.Duration) (time.Duration, bool) {
	s, ok := v.text, v.kind == number // "10" has no unit, and ParseDuration says so
	if !ok {
		s, ok = v.str(retention.FormatDuration(min(most, 48*time.Hour)))
	}
	if !ok {
		return 0, false
	}
	d, err := retention.ParseDuration(s)
	switch {
	case err != nil:
		v.fail("%v", err)
	case d < least || d > most:
		v.fail("%s is out of range: want %s to %s", s, retention.FormatDuration(least), retention.FormatDuration(most))
	default:
		return d, true
	}
	return 0, false
}
