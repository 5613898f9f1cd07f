package retention_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/retention"
)

var update = flag.Bool("update", false, "write what is kept into testdata/*.calendar")

const calendarLayout = "2006-01-02 15:04 -0700 Mon"

// calendar is a file of testdata: comments, then "keep:" and "zone:", "pin: TIME REASON" for each pin, and a line a set, newest
// first, with what is to become of it.
type calendar struct {
	comments, pins []string
	keep, zone     string
	times          []time.Time
}

func readCalendar(t *testing.T, text string) calendar {
	t.Helper()
	var c calendar
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "#"):
			c.comments = append(c.comments, line)
		case key == "keep":
			c.keep = value
		case key == "zone":
			c.zone = value
		case key == "pin":
			c.pins = append(c.pins, value)
		case line != "":
			at, err := time.Parse(calendarLayout, line[:len(calendarLayout)])
			if err != nil {
				t.Fatal(err)
			}
			c.times = append(c.times, at)
		}
	}
	return c
}

func (c calendar) items(loc *time.Location) []retention.Item {
	var items []retention.Item
	for _, at := range c.times {
		it := retention.Item{ID: at.UTC().Format(time.RFC3339), Time: at}
		for _, pin := range c.pins {
			if reason, ok := strings.CutPrefix(pin, at.In(loc).Format(calendarLayout)+" "); ok {
				it.Pins = append(it.Pins, reason)
			}
		}
		items = append(items, it)
	}
	slices.Reverse(items) // Apply sorts by itself
	return items
}

func (c calendar) judged(t *testing.T) string {
	t.Helper()
	p, err := retention.ParseKeep(c.keep)
	if err != nil {
		t.Fatal(err)
	}
	loc := load(t, c.zone)
	var b strings.Builder
	for _, line := range c.comments {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "keep: %s\nzone: %s\n", c.keep, c.zone)
	for _, pin := range c.pins {
		fmt.Fprintf(&b, "pin: %s\n", pin)
	}
	fmt.Fprintln(&b)
	for _, v := range p.Apply(c.items(loc), loc) {
		fate := "goes"
		if v.Keep {
			fate = "stays: " + strings.Join(v.Reasons, ", ")
		}
		fmt.Fprintf(&b, "%s  %s\n", v.Item.Time.In(loc).Format(calendarLayout), fate)
	}
	return b.String()
}

func TestCalendars(t *testing.T) {
	files, err := filepath.Glob("testdata/*.calendar")
	if err != nil || len(files) < 5 {
		t.Fatalf("calendars %q: %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := readCalendar(t, string(want)).judged(t)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-file +got)\n%s", diff)
			}
		})
	}
}
