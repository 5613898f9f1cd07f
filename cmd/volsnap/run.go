package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/report"
)

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "take a set (or fetch what its source has), replicate it, and prune by policy; for the nightly timer", ArgsUsage: "[APP...]",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and stop; see also volsnap prune --dry-run"}, targetFlag, jsonFlag},
		Action: p.run,
	}
}

func (p *program) run(c *cli.Context) error {
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	apps, err := h.apps(c)
	if err != nil {
		return err
	}
	only := ""
	if c.IsSet("target") {
		if only, err = h.onlyTarget(c, apps); err != nil {
			return err
		}
	}
	if c.Bool("dry-run") {
		return p.plan(c, h)
	}
	if info, err := os.Stat(h.config.Metrics); err == nil && info.IsDir() {
		return usagef("metrics: %q is a directory: name a file in it, such as volsnap.prom", h.config.Metrics)
	}
	reports := []report.Run{}
	err = p.withProgress(c, h, func(ctx context.Context) error {
		defer h.recoverDrills(ctx)
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			r, err := h.engine.Run(ctx, app, only)
			if r.Set != "" && slices.ContainsFunc(r.Replicated, func(to report.Replication) bool { return !to.OK }) {
				err = partlyError{err} // the set was taken
			}
			reports = append(reports, r)
			if !c.Bool("json") {
				err = errors.Join(err, p.printNew(app, r))
			}
			if errors.Is(err, state.ErrLocked) {
				return err // the other run reports
			}
			return errors.Join(err, report.Save(h.state, r), h.saveReplications(r.Replicated))
		})
	})
	if c.Bool("json") {
		err = errors.Join(err, p.printJSON(reports))
	}
	return errors.Join(err, h.writeMetrics())
}

// printNew prints the ids of the sets that are new on this host.
func (p *program) printNew(app engine.App, r report.Run) error {
	ids := []string{r.Set}
	if app.Origin != nil {
		ids = nil
		for _, to := range r.Replicated {
			for _, s := range to.Sets {
				ids = append(ids, s.ID)
			}
		}
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		if err := p.printf("%s\n", id); err != nil {
			return err
		}
	}
	return nil
}

// writeMetrics renders the last runs and drills of all configured apps, whichever invocation made them.
func (h *host) writeMetrics() error {
	if h.config.Metrics == "" {
		return nil
	}
	var runs []report.Run
	var drills []report.Drill
	for _, a := range h.config.Apps {
		r, err := report.Load(h.state, a.Name)
		if err != nil {
			return err
		}
		if r != nil {
			runs = append(runs, *r)
		}
		d, err := report.LoadDrill(h.state, a.Name)
		if err != nil {
			return err
		}
		if d != nil {
			drills = append(drills, *d)
		}
	}
	if err := report.WriteMetrics(h.config.Metrics, runs, drills); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
