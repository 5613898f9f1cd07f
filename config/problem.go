package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration file, in words that say what to mend.
type Problem struct {
	File string
	Line int    // from 1; 0 when the problem is the whole file's
	Path string // "apps.ccn.volumes[1].not_older_than[0]"; empty when there is none
	Text string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	return b.String() + ": " + p.Text
}

// Problems is everything that is wrong with one file, in the order of its lines. There is at least one.
type Problems []Problem

// shown is how many problems Error spells out. Nobody reads more, and a hostile file can have any number.
const shown = 100

// Error is one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, 0, shown+1)
	for i, problem := range p {
		if i == shown {
			lines = append(lines, fmt.Sprintf("%s: and %d more problems", problem.File, len(p)-shown))
			break
		}
		lines = append(lines, problem.String())
	}
	return strings.Join(lines, "\n")
}

// report collects the problems of one file.
type report struct {
	file     string
	problems Problems
}

func (r *report) add(line int, path, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Path: path, Text: fmt.Sprintf(format, args...)})
}

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return r.problems
}

// quote shows a piece of the file in a message: quoted, and not at any length.
func quote(s string) string {
	const most = 60
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := []rune(s)
	return fmt.Sprintf("%q (%d bytes)", string(cut[:min(most, len(cut))])+"...", len(s))
}
