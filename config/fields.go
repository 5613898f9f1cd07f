package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// fields is a map's values by key.
type fields struct {
	of   value
	ok   bool // it is a map; when it is not, that was reported, and nothing should be said of what is missing
	vals map[string]value
}

// fields reads a map that may have these keys.
func (v value) fields(keys ...string) fields {
	f := fields{of: v, ok: v.want(mapping, "{"+keys[0]+": ...}"), vals: map[string]value{}}
	if !f.ok {
		return f
	}
	v.entries(func(key string, val value) {
		switch {
		case slices.Contains(keys, key):
			f.vals[key] = val
		default:
			val.fail("unknown key%s", suggest(key, keys, "keys"))
		}
	})
	return f
}

// entries calls fn for each key of a map, in order, with its value; it reports keys that are no text or come twice.
func (v value) entries(fn func(key string, val value)) {
	first := map[string]int{}
	for _, p := range v.pairs {
		here := v.at(p.key.text)
		here.node = p.value
		here.line = p.key.line
		if p.key.kind != text {
			here.fail("want text as the key, got %s: put it in quotes if it is meant", p.key)
			continue
		}
		if at, dup := first[p.key.text]; dup {
			here.fail("the key is given twice: it is in line %d already", at)
			continue
		}
		first[p.key.text] = p.key.line
		here.line = p.value.line
		fn(p.key.text, here)
	}
}

// element is a key as it is shown in a path, behind what it belongs to.
func element(key string) string {
	if keyPattern.MatchString(key) && len(key) <= 60 {
		return "." + key
	}
	return "[" + quote(key) + "]"
}

func (f fields) get(key string) (value, bool) {
	v, ok := f.vals[key]
	return v, ok
}

// first is the first of the keys that the file has, to complain at.
func (f fields) first(keys ...string) value {
	for _, key := range keys {
		if v, ok := f.vals[key]; ok {
			return v
		}
	}
	return f.of
}

// span is the length of time of a key, or what it is when the key is absent.
func (f fields) span(key string, absent, least, most time.Duration) time.Duration {
	if v, ok := f.get(key); ok {
		if d, ok := v.span(least, most); ok {
			return d
		}
	}
	return absent
}

// path is the absolute path of a key, or what it is when the key is absent.
func (f fields) path(key, absent string) string {
	if v, ok := f.get(key); ok {
		if p, ok := v.path(); ok {
			return p
		}
	}
	return absent
}

// suggest says what an unknown word may have meant: the nearest of the known ones, or all of them.
func suggest(word string, known []string, what string) string {
	best, distance := "", 3 // two slips of the pen at most
	for _, k := range known {
		if d := slips(word, k, distance); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	if len(known) == 0 {
		return ""
	}
	const most = 10
	if len(known) > most {
		known = append(slices.Clone(known[:most]), "...")
	}
	return fmt.Sprintf(" (%s: %s)", what, strings.Join(known, ", "))
}

// slips counts the letters to change, add or leave out between two words (Levenshtein's distance); words whose lengths alone
// differ by enough are not compared.
func slips(a, b string, enough int) int {
	if d := len(a) - len(b); d >= enough || -d >= enough {
		return enough
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
