package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/volsnap/volsnap/internal/fixture"
)

// printer writes for people. What a demonstration prints is not worth failing for, so write errors are dropped.
type printer struct {
	w     io.Writer
	short *strings.Replacer // makes temporary directories readable in block
}

func (p printer) heading(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.text("\n%s\n%s", text, strings.Repeat("=", len([]rune(text))))
}

func (p printer) text(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

func (p printer) command(args []string) { p.text("$ volsnap %s\n", strings.Join(args, " ")) }

// block prints the output of a program, indented, up to a number of lines.
func (p printer) block(output string, most int) {
	output = strings.TrimRight(shorten(output, p.short), "\n")
	if output == "" {
		return
	}
	lines := strings.Split(output, "\n")
	for _, line := range lines[:min(most, len(lines))] {
		p.text("%s", strings.TrimRight("    "+line, " "))
	}
	if more := len(lines) - most; more > 0 {
		p.text("    … %s", count(more, "more line", "more lines"))
	}
}

// pauses is the table of the sets and of how long each container was held.
func (p printer) pauses(sets []fixture.Set, measured fixture.Measured) {
	t := tabwriter.NewWriter(p.w, 0, 0, 3, ' ', tabwriter.AlignRight)
	services := []string{"postgres", "pyaleph", "pyaleph-api", "ipfs"}
	_, _ = fmt.Fprintf(t, "set\tconsistency\treported pause\tfelt: %s\t\n", strings.Join(services, "\t"))
	for _, set := range sets {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.1f ms\t", set.ID, set.Consistency, set.PauseMS)
		felt := felt(set, measured)
		for _, service := range services {
			_, _ = fmt.Fprintf(t, "%s\t", milliseconds(felt[service]))
		}
		_, _ = fmt.Fprintln(t)
	}
	_ = t.Flush()
}

// felt is for each service the gap in which the set's snapshots were made.
func felt(set fixture.Set, measured fixture.Measured) map[string]time.Duration {
	longest := map[string]time.Duration{}
	for _, m := range set.Members {
		for service, gap := range measured.Felt(m.Taken) {
			longest[service] = max(longest[service], gap)
		}
	}
	return longest
}

func longestFelt(set fixture.Set, measured fixture.Measured) time.Duration {
	var longest time.Duration
	for _, gap := range felt(set, measured) {
		longest = max(longest, gap)
	}
	return longest
}

// median of the values, or 0 if there are none.
func median(values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
