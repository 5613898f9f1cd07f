package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/retention"
)

const maxTimes = 1_000_000

func (p *program) retentionCommand() *cli.Command {
	return &cli.Command{
		Name: "retention", Usage: "try a policy without any sets",
		Subcommands: []*cli.Command{{
			Name: "simulate", Usage: "print what a policy keeps of sets of given times, and why",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "keep", Usage: "the `POLICY`, for example last=2,daily=7,within=48h"},
				&cli.StringFlag{Name: "times", Usage: "`FILE` with one RFC 3339 time a line; - is stdin"},
				&cli.StringFlag{Name: "zone", Usage: "time `ZONE` of the calendar, for example Europe/Berlin (default: this host's)"},
				jsonFlag,
			},
			Action: p.simulate,
		}},
		Action: func(*cli.Context) error { return usagef("`volsnap retention` needs a command: simulate") },
	}
}

type verdictJSON struct {
	Time    time.Time `json:"time"`
	Keep    bool      `json:"keep"`
	Reasons []string  `json:"reasons"`
}

func (p *program) simulate(c *cli.Context) error {
	if err := errors.Join(noArguments(c), needed(c, "keep", "times")); err != nil {
		return err
	}
	policy, err := retention.ParseKeep(c.String("keep"))
	if err != nil {
		return usagef("--keep: %w", err)
	}
	loc := time.Local
	if c.IsSet("zone") {
		if loc, err = time.LoadLocation(c.String("zone")); err != nil || c.String("zone") == "" {
			return usagef("--zone %q: no such time zone", c.String("zone"))
		}
	}
	items, err := p.readTimes(c.String("times"))
	if err != nil {
		return usagef("--times: %w", err)
	}
	out := []verdictJSON{}
	for _, v := range policy.Apply(items, loc) {
		out = append(out, verdictJSON{Time: v.Item.Time.UTC(), Keep: v.Keep, Reasons: append([]string{}, v.Reasons...)})
	}
	if c.Bool("json") {
		return p.printJSON(out)
	}
	rows := make([]table.Row, 0, len(out))
	for _, v := range out {
		verdict := "goes"
		if v.Keep {
			verdict = "kept"
		}
		rows = append(rows, table.Row{v.Time.In(loc).Format(time.RFC3339), verdict, strings.Join(v.Reasons, ", ")})
	}
	return p.printTable(table.Row{"time", "verdict", "why"}, rows)
}

func (p *program) readTimes(path string) (items []retention.Item, err error) {
	in := p.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read from
		in = f
	}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q is no RFC 3339 time", n, line)
		}
		if len(items) == maxTimes {
			return nil, fmt.Errorf("more than %d times", maxTimes)
		}
		items = append(items, retention.Item{ID: strconv.Itoa(n), Time: t})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return items, nil
}
