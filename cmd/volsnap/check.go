package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
)

func (p *program) checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "find everything that could make a run fail tonight, each with its mend", ArgsUsage: "[APP...]",
		Flags:  []cli.Flag{jsonFlag},
		Action: p.check,
	}
}

type checkJSON struct {
	App string `json:"app"`
	problemJSON
}

// check prints one line a finding and fails when one of them is an error.
func (p *program) check(c *cli.Context) error {
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	apps, err := h.apps(c)
	if err != nil {
		return err
	}
	out := []checkJSON{}
	bad := map[string]bool{} // apps that would fail; "" is the host
	add := func(app string, problems []engine.Problem) {
		for i, q := range problemsJSON(problems) {
			if problems[i].Level == driver.Error {
				bad[app] = true
			}
			out = append(out, checkJSON{App: app, problemJSON: q})
		}
	}
	add("", h.engine.CheckHost())
	err = eachApp(c.Context, apps, func(ctx context.Context, app engine.App) error {
		problems, err := h.engine.Check(ctx, app)
		add(app.Name, problems)
		return err
	})
	if printErr := p.printChecks(c, out); printErr != nil {
		return printErr
	}
	switch {
	case err != nil || len(bad) == 0:
		return err
	case !bad[""] && len(bad) < len(apps):
		return statusError(exitPartly)
	default:
		return statusError(exitFailed)
	}
}

func (p *program) printChecks(c *cli.Context, out []checkJSON) error {
	if c.Bool("json") {
		return p.printJSON(out)
	}
	for _, q := range out {
		mend := ""
		if q.Mend != "" {
			mend = " - mend: " + q.Mend
		}
		if err := p.printf("%-7s  %s: %s%s\n", q.Level, text(q.About), text(q.What), text(mend)); err != nil {
			return err
		}
	}
	return nil
}
