package main

import (
	"context"
	"errors"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
)

var targetFlag = &cli.StringFlag{Name: "target", Usage: "this `TARGET` alone"}

func (p *program) replicateCommand() *cli.Command {
	return &cli.Command{
		Name: "replicate", Usage: "send what the targets lack, incrementally", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{targetFlag, jsonFlag}, Action: p.replicate,
	}
}

func (p *program) replicate(c *cli.Context) error {
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	apps, err := h.apps(c)
	if err != nil {
		return err
	}
	only, err := h.onlyTarget(c, apps)
	if err != nil {
		return err
	}
	out := []report.Replication{}
	err = p.withProgress(c, h, func(ctx context.Context) error {
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			if only != "" && !hasTarget(app, only) {
				return nil
			}
			reports, err := h.engine.Replicate(ctx, app, only)
			out = append(out, reports...)
			return errors.Join(someTargets(reports, err), h.saveReplications(reports))
		})
	})
	if c.Bool("json") {
		return errors.Join(err, p.printJSON(out))
	}
	return errors.Join(err, p.printReplications(out))
}

// onlyTarget is the target that was asked for, "" for all. It has to be one of an app that was asked for.
func (h *host) onlyTarget(c *cli.Context, apps []engine.App) (string, error) {
	name := c.String("target")
	if !c.IsSet("target") {
		for _, app := range apps {
			if len(app.Targets) > 0 {
				return "", nil
			}
		}
		return "", usagef("no target is configured for what was named: add `replicate: [{target: NAME}]` to the app")
	}
	if _, err := h.targetNamed(name); err != nil {
		return "", err
	}
	for _, app := range apps {
		if hasTarget(app, name) {
			return name, nil
		}
	}
	return "", usagef("none of the apps replicates to %q", name)
}

func hasTarget(app engine.App, name string) bool {
	for _, t := range app.Targets {
		if t.Name == name {
			return true
		}
	}
	return false
}

// someTargets makes the failure of some of an app's targets a failure in part.
func someTargets(reports []report.Replication, err error) error {
	for _, r := range reports {
		if r.OK && err != nil {
			return partlyError{err}
		}
	}
	return err
}

// saveReplications keeps what was done for status and metrics.
func (h *host) saveReplications(reports []report.Replication) error {
	var errs []error
	for _, r := range reports {
		errs = append(errs, report.SaveReplication(h.state, r))
	}
	return errors.Join(errs...)
}

func (p *program) printReplications(all []report.Replication) error {
	var rows []table.Row
	for _, r := range all {
		if r.OK && len(r.Sets) == 0 {
			rows = append(rows, table.Row{r.App, r.Target, "up to date", "", ""})
		}
		for _, s := range r.Sets {
			how := "whole"
			if s.Incremental {
				how = "incremental"
			}
			if s.Resumed {
				how += ", resumed"
			}
			rows = append(rows, table.Row{r.App, r.Target, s.ID, how, humanize.IBytes(uint64(s.Bytes))})
		}
		if !r.OK {
			rows = append(rows, table.Row{r.App, r.Target, "FAILED", r.Error, ""})
		}
	}
	return p.printTable(table.Row{"app", "target", "set", "how", "size"}, rows)
}
