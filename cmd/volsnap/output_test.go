package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/table"
	"pgregory.net/rapid"
)

// What is escaped in JSON is the same value, and nothing in it can move a cursor.
func TestJSONIsPlainAndTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.String().Draw(rt, "s") + rapid.SampledFrom([]string{"", "\u009b2J", "\u202e", "\U000e0001", "\x1b]0;x\a", "\n", "<&>"}).Draw(rt, "end")
		var out bytes.Buffer
		if err := (&program{stdout: &out}).printJSON([]string{want}); err != nil {
			rt.Fatal(err)
		}
		var got []string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 1 || got[0] != want {
			rt.Fatalf("%q became %q: %v", want, got, err)
		}
		if one := strings.ReplaceAll(out.String(), "\n", ""); text(one) != one {
			rt.Fatalf("%q", one)
		}
	})
}

// A row is a line, whatever is in its cells.
func TestRowsStayOnTheirLines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var rows []table.Row
		for range rapid.IntRange(0, 4).Draw(rt, "rows") {
			rows = append(rows, table.Row{rapid.String().Draw(rt, "a"), 7, rapid.String().Draw(rt, "b")})
		}
		var out bytes.Buffer
		if err := (&program{stdout: &out}).printTable(table.Row{"a", "n", "b"}, rows); err != nil {
			rt.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			rt.Fatalf("%d lines of %d rows: %q", len(lines), len(rows), out.String())
		}
		for _, line := range lines {
			if text(line) != line {
				rt.Fatalf("%q", line)
			}
		}
	})
}
