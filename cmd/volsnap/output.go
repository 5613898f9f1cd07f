package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/jedib0t/go-pretty/v6/table"
)

// printJSON writes one document. Characters that could move a terminal's cursor are escaped, which changes no value.
func (p *program) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return p.printf("%s", escaped(b.String()))
}

// escaped is a JSON text with what is not printable in its strings as \u. The encoder has done that below U+0020.
func escaped(doc string) string {
	if !strings.ContainsFunc(doc, strange) {
		return doc // nearly always; copying a list of 10,000 snapshots took 100 ms
	}
	var b strings.Builder
	for _, r := range doc {
		if !strange(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

func strange(r rune) bool { return r != '\n' && (r < ' ' || r > '~') && !unicode.IsPrint(r) }

func (p *program) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdout, format, args...)
	return err
}

// printTable writes aligned columns without lines. Every row stays on one line, whatever is in its cells.
func (p *program) printTable(header table.Row, rows []table.Row) error {
	w := table.NewWriter()
	w.SetStyle(table.Style{Box: table.BoxStyle{PaddingRight: "  "}})
	w.AppendHeader(header)
	for _, row := range rows {
		for i, cell := range row {
			if s, ok := cell.(string); ok {
				row[i] = text(s)
			}
		}
		w.AppendRow(row)
	}
	out := w.Render()
	for line := range strings.Lines(out) {
		if err := p.printf("%s\n", strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// age is a duration in the unit that a person would say it in.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dmin", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// text is one line, and keeps what others wrote from moving the cursor.
func text(s string) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

func ms(v float64) string { return fmt.Sprintf("%.1f ms", v) }
