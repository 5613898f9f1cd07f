package inventory

import (
	"slices"
	"strings"
)

// suggest continues an error about a name that was not found: with those that are near, or all if they are few.
func suggest(name string, all []string) string {
	switch near := near(name, all); {
	case len(near) > 0:
		return "; near it: " + strings.Join(near, ", ")
	case len(all) == 0:
		return "; there are none"
	case len(all) <= 10:
		return "; there are: " + strings.Join(all, ", ")
	}
	return ""
}

// near are up to five names that somebody may have meant, sorted: alike but for "_" and "-" and case, one the end or the
// start of the other, or a few letters apart.
func near(name string, all []string) []string {
	var found []string
	want := plain(name)
	for _, n := range all {
		if have := plain(n); akin(want, have) && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found[:min(len(found), 5)]
}

func plain(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "-")) }

func akin(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) >= 3 && (strings.HasSuffix(b, a) || strings.HasPrefix(b, a)) {
		return true
	}
	return len(b) < 256 && distance(a, b) <= 1+len(a)/6
}

// distance is Levenshtein's: how many letters to change, add or drop.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
