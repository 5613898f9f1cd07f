package engine

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEntry leaves room for a number in the 255 bytes that a name of a file may have.
const maxEntry = 200

// entryNames are names of files for volumes, in their order, each another one: a Docker volume's is its own, and that of a path
// the path with "-" for "/". What could move a cursor, or be taken for an option or a hidden file, is "_". A volume whose name
// needs no change has it, whatever the others are called.
func entryNames(volumes []string) []string {
	names := make([]string, len(volumes))
	taken := map[string]bool{}
	for _, plain := range []bool{true, false} {
		for i, v := range volumes {
			name := entryName(v)
			if (name == v) != plain {
				continue
			}
			names[i] = free(name, taken)
			taken[names[i]] = true
		}
	}
	return names
}

func free(name string, taken map[string]bool) string {
	for n, one := 2, name; ; n++ {
		if !taken[one] {
			return one
		}
		one = fmt.Sprintf("%s~%d", name, n)
	}
}

func entryName(volume string) string {
	s := strings.ReplaceAll(strings.Trim(volume, "/"), "/", "-")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, s)
	if s == "" || slices.Contains([]byte("-.~ "), s[0]) {
		s = "_" + s
	}
	for len(s) > maxEntry {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
