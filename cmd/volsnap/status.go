package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/retention"
)

const defaultMaxAge = "26h"

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show how fresh the sets of each app are", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "print one line and exit like a monitoring plug-in: 0 ok, 1 warning, 2 critical, 3 unknown"},
			&cli.StringFlag{Name: "max-age", Usage: "a newest set older than this `DURATION` is a warning, twice that is critical", Value: defaultMaxAge},
			jsonFlag,
		},
		Action: func(c *cli.Context) error {
			out, err := p.status(c)
			if c.Bool("check") {
				return p.plugin(c, out, err)
			}
			if out == nil {
				return err
			}
			return errors.Join(err, p.printStatus(c, out))
		},
	}
}

type statusJSON struct {
	App         string        `json:"app"`
	Level       string        `json:"level"` // ok, warning, critical
	Newest      string        `json:"newest"`
	AgeMS       float64       `json:"age_ms"`
	Consistency string        `json:"consistency"`
	Sets        int           `json:"sets"`
	Faulty      int           `json:"faulty"`
	LastRun     *report.Run   `json:"last_run"`
	LastDrill   *report.Drill `json:"last_drill"`
	Replicas    []replicaJSON `json:"replicas"`
	Problems    []problemJSON `json:"problems"`
}

func (p *program) status(c *cli.Context) ([]statusJSON, error) {
	maxAge, err := retention.ParseDuration(c.String("max-age"))
	if err != nil || maxAge <= 0 {
		return nil, usagef("--max-age %q: want a duration such as 26h or 2d", c.String("max-age"))
	}
	h, err := p.open(c, false)
	if err != nil {
		return nil, err
	}
	apps, err := h.apps(c)
	if err != nil {
		return nil, err
	}
	out := []statusJSON{}
	err = eachApp(c.Context, apps, func(ctx context.Context, app engine.App) error {
		health := engine.Health{App: app.Name}
		if app.Origin == nil {
			var err error
			if health, err = h.engine.Health(ctx, app.Name, maxAge); err != nil {
				return err
			}
		}
		last, err := report.Load(h.state, app.Name)
		if err != nil {
			health.Problems = append(health.Problems, engine.Problem{About: app.Name, Finding: driver.Finding{
				Level: driver.Warning, What: err.Error(), Mend: "remove it; the next run writes it anew",
			}})
		}
		replicas := h.replicas(app, &health, maxAge)
		drilled := h.lastDrill(app.Name, &health)
		s := newStatusJSON(health, last)
		s.Replicas, s.LastDrill = replicas, drilled
		out = append(out, s)
		return nil
	})
	return out, err
}

func newStatusJSON(h engine.Health, last *report.Run) statusJSON {
	if last != nil && !last.OK {
		h.Problems = append(h.Problems, engine.Problem{About: h.App, Finding: driver.Finding{
			Level: driver.Warning, What: "its last run failed: " + last.Error, Mend: "`volsnap check " + h.App + "`",
		}})
	}
	s := statusJSON{App: h.App, Level: "ok", Sets: h.Sets, Faulty: len(h.Faulty), LastRun: last, Problems: problemsJSON(h.Problems)}
	if h.Newest != nil {
		s.Newest, s.Consistency = string(h.Newest.ID), string(h.Newest.Consistency)
		s.AgeMS = float64(h.Age.Milliseconds())
	}
	for _, q := range h.Problems {
		if q.Level == driver.Error {
			s.Level = "critical"
		} else if s.Level == "ok" {
			s.Level = "warning"
		}
	}
	return s
}

func (p *program) printStatus(c *cli.Context, out []statusJSON) error {
	if c.Bool("json") {
		return p.printJSON(out)
	}
	rows := make([]table.Row, 0, len(out))
	for _, s := range out {
		rows = append(rows, table.Row{s.App, s.Level, s.Newest, s.age(), s.Sets, lastRun(s.LastRun), drillInWords(s.LastDrill, time.Now()), inWords(s.Replicas)})
	}
	if err := p.printTable(table.Row{"app", "level", "newest set", "age", "sets", "last run", "last drill", "newest replicas"}, rows); err != nil {
		return err
	}
	for _, s := range out {
		for _, q := range s.Problems {
			if err := p.printf("%s: %s: %s - mend: %s\n", q.Level, text(q.About), text(q.What), text(q.Mend)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s statusJSON) age() string {
	if s.Newest == "" {
		return "none"
	}
	return age(time.Duration(s.AgeMS) * time.Millisecond)
}

func lastRun(r *report.Run) string {
	switch {
	case r == nil:
		return "none"
	case r.OK:
		return "done " + r.Started.Local().Format(time.DateTime)
	default:
		return "FAILED " + r.Started.Local().Format(time.DateTime)
	}
}

// plugin prints the one line and ends with the status that monitoring systems know (Monitoring Plugins Development
// Guidelines: 0 ok, 1 warning, 2 critical, 3 unknown).
func (p *program) plugin(c *cli.Context, out []statusJSON, err error) error {
	if err != nil {
		if printErr := p.printf("VOLSNAP UNKNOWN - %s\n", text(err.Error())); printErr != nil {
			return printErr
		}
		return statusError(3)
	}
	worst, words := 0, ""
	names := []string{"OK", "WARNING", "CRITICAL"}
	for _, s := range out {
		level := map[string]int{"ok": 0, "warning": 1, "critical": 2}[s.Level]
		worst = max(worst, level)
		words += fmt.Sprintf("; %s: newest set %s", s.App, s.age())
		for _, q := range s.Problems {
			words += ", " + q.What
		}
	}
	if c.Bool("json") {
		err = p.printJSON(out)
	} else {
		err = p.printf("VOLSNAP %s - %s\n", names[worst], text(words[min(2, len(words)):]))
	}
	if err != nil || worst == 0 {
		return err
	}
	return statusError(worst)
}
