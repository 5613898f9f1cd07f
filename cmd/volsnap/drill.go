package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/drill"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

func (p *program) drillCommand() *cli.Command {
	return &cli.Command{
		Name: "drill", Usage: "prove that a set can be restored, by restoring it to where nobody sees it", ArgsUsage: "[APP]",
		Description: "Starts a throw-away PostgreSQL on a clone of the set, waits for recovery, checks tables, indexes and checksums, and files\n" +
			"against their names and against rows. Everything that it makes is removed. Without APP, every app is drilled.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "set", Usage: "this `SET` and not the newest"},
			&cli.StringFlag{Name: "from", Usage: "the replica at this `TARGET`, which has to be on this host"},
			&cli.BoolFlag{Name: "full", Usage: "read all files that are named for their content, not a sample"},
			jsonFlag,
		},
		Action: p.drill,
	}
}

func (p *program) drill(c *cli.Context) error {
	req := drill.Request{From: c.String("from")}
	if c.NArg() > 1 {
		return usagef("`%s` takes one app at most", c.Command.HelpName)
	}
	if c.IsSet("set") {
		id, err := setID(c.String("set"))
		if err != nil {
			return err
		}
		req.Set = id
	}
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	apps, err := h.drilled(c, req)
	if err != nil {
		return err
	}
	err = p.withProgress(c, h, func(ctx context.Context) error {
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			r, err := h.drill().Run(ctx, h.drillApp(app, c.Bool("full")), req)
			if r.Set == "" {
				return err
			}
			return errors.Join(err, p.printDrill(c, r))
		})
	})
	return errors.Join(err, h.writeMetrics())
}

// drilled are the apps that are asked for, and that have sets where they are asked for.
func (h *host) drilled(c *cli.Context, req drill.Request) ([]engine.App, error) {
	if req.From != "" {
		if _, err := h.placeForDrill(req.From); err != nil {
			return nil, err
		}
	}
	apps, err := h.apps(c)
	switch {
	case err != nil:
		return nil, err
	case req.Set != "":
		app, ok := h.app(req.Set.App())
		if !ok || c.NArg() > 0 && c.Args().First() != app.Name {
			return nil, usagef("--set %q is no set of %q", req.Set, cmp.Or(c.Args().First(), "an app of the configuration"))
		}
		apps = []engine.App{app}
	}
	if req.From != "" {
		return apps, nil
	}
	var own []engine.App
	for _, a := range apps {
		if a.Origin == nil {
			own = append(own, a)
		}
	}
	if len(own) == 0 {
		return nil, usagef("the sets of %q are taken on another host: name the target where they are here, by --from", apps[0].Name)
	}
	return own, nil
}

// drill is what does it on this host.
func (h *host) drill() *drill.Drill {
	return &drill.Drill{
		Docker: h.docker, Open: h.sourceOfSets, StateDir: h.state, RunDir: h.run, Now: time.Now,
		Stage: func(name string) {
			if h.engine.Stage != nil {
				h.engine.Stage(name)
			}
		},
	}
}

func (h *host) drillApp(a engine.App, full bool) drill.App {
	app := drill.App{Name: a.Name, Project: a.Project, Content: config.DefaultContent, Timeout: config.DefaultDrillTimeout}
	for _, c := range h.config.Apps {
		if c.Name == a.Name {
			d := c.Drill
			app.Query, app.User, app.Database, app.Volume, app.Content, app.Timeout = d.Query, d.User, d.Database, d.Volume, d.Content, d.Timeout
		}
	}
	if full {
		app.Content = drill.Full
	}
	for _, s := range a.Freeze.Steps {
		if s.Postgres != nil {
			app.Postgres = append(app.Postgres, drill.Postgres{Container: s.Postgres.Container, User: s.Postgres.User, Database: s.Postgres.Database})
		}
	}
	return app
}

// sourceOfSets is this host, or a target that is on it.
func (h *host) sourceOfSets(from string) (drill.Source, error) {
	if from != "" {
		return h.placeForDrill(from)
	}
	return drill.Source{
		Sets:    h.engine.Sets,
		Records: h.engine.Store,
		Stager: func(kind string) (driver.Stager, error) {
			for _, d := range h.engine.Drivers {
				if d.Kind() == kind {
					return stager(d, kind)
				}
			}
			return nil, fmt.Errorf("%w: no driver for %q", drill.ErrCannot, kind)
		},
	}, nil
}

func stager(by any, kind string) (driver.Stager, error) {
	if s, ok := by.(driver.Stager); ok {
		return s, nil
	}
	return nil, fmt.Errorf("%w: this version cannot make writable clones on %s", drill.ErrCannot, kind)
}

func (h *host) placeForDrill(name string) (drill.Source, error) {
	t, err := h.targetNamed(name)
	if err != nil {
		return drill.Source{}, err
	}
	if t.SSH != "" {
		return drill.Source{}, usagef("%q is a backup server: a drill runs where the replica is; run volsnap drill on the backup server itself", name)
	}
	place, err := placeOf(t.Into, t.Resume, h.links.manifests(t))
	if err != nil {
		return drill.Source{}, err
	}
	return drill.Source{
		Records: place.Store,
		Sets: func(ctx context.Context, app string) ([]snapset.Set, error) {
			l, err := place.List(ctx, app, true)
			return l.Sets(), err
		},
		Stager: func(kind string) (driver.Stager, error) {
			for _, r := range place.Receivers {
				if r.Kind() == kind {
					return stager(r, kind)
				}
			}
			return nil, fmt.Errorf("%w: the target %s has no place for %q", drill.ErrCannot, name, kind)
		},
	}, nil
}

// recoverDrills removes what killed drills left, which keeps no run from being done.
func (h *host) recoverDrills(ctx context.Context) {
	if err := h.drill().RecoverAll(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("could not remove all that a killed drill had left")
	}
}

func (p *program) printDrill(c *cli.Context, r report.Drill) error {
	if c.Bool("json") {
		return p.printJSON(r)
	}
	rows := make([]table.Row, 0, len(r.Checks))
	for _, check := range r.Checks {
		verdict := "passed"
		if !check.OK {
			verdict = "FAILED"
		}
		rows = append(rows, table.Row{check.Name, verdict, check.Detail})
	}
	verdict := "passed"
	if !r.OK {
		verdict = "FAILED"
	}
	if err := p.printf("%s: %s\n", r.Set, verdict); err != nil {
		return err
	}
	return p.printTable(table.Row{"check", "verdict", "detail"}, rows)
}
