package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
)

var column = regexp.MustCompile(`\S+( \S+)*`)

// shorten replaces long names in a text, and lays its tables out again so that their columns still meet.
func shorten(text string, short *strings.Replacer) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, paragraph := range paragraphs {
		if rows := cells(paragraph); rows != nil {
			paragraphs[i] = table(rows, short)
		} else {
			paragraphs[i] = short.Replace(paragraph)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// cells cuts a paragraph at the places where the words of its first line begin; nil if that is no table.
func cells(paragraph string) [][]string {
	lines := strings.Split(strings.TrimRight(paragraph, "\n"), "\n")
	starts := column.FindAllStringIndex(lines[0], -1)
	if len(lines) < 2 || len(starts) < 2 {
		return nil
	}
	var rows [][]string
	for _, line := range lines {
		var row []string
		for i := range starts {
			from, to := min(starts[i][0], len(line)), len(line)
			if i+1 < len(starts) {
				to = min(starts[i+1][0], len(line))
			}
			if i > 0 && from < len(line) && !strings.HasSuffix(line[:from], "  ") {
				return nil
			}
			row = append(row, strings.TrimRight(line[from:to], " "))
		}
		rows = append(rows, row)
	}
	return rows
}

func table(rows [][]string, short *strings.Replacer) string {
	var out bytes.Buffer
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, short.Replace(strings.Join(row, "\t")))
	}
	_ = t.Flush() // to memory
	return strings.TrimRight(out.String(), "\n")
}
