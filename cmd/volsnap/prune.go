package main

import (
	"context"
	"errors"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
)

func (p *program) pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove the sets that the policy does not keep", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "print which sets would go and why the others stay, and stop"},
			&cli.BoolFlag{Name: "yes", Usage: "remove them even if they are an unusual share of all"},
			jsonFlag,
		},
		Action: p.prune,
	}
}

type pruneJSON struct {
	App     string     `json:"app"`
	DryRun  bool       `json:"dry_run"`
	Kept    []keptJSON `json:"kept"`
	Removed []string   `json:"removed"`
	Refused string     `json:"refused"`
	Error   string     `json:"error"`
}

type keptJSON struct {
	ID      string   `json:"id"`
	Reasons []string `json:"reasons"`
}

func (p *program) prune(c *cli.Context) error {
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	apps, err := h.apps(c)
	if err != nil {
		return err
	}
	out := []pruneJSON{}
	err = p.withProgress(c, h, func(ctx context.Context) error {
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			one, err := h.pruneApp(ctx, app, c.Bool("dry-run"), c.Bool("yes"))
			if err != nil {
				one.Error = printable(err)
			}
			out = append(out, one)
			return err
		})
	})
	if c.Bool("json") {
		return errors.Join(err, p.printJSON(out))
	}
	return errors.Join(err, p.printPrune(out))
}

func (h *host) pruneApp(ctx context.Context, app engine.App, dryRun, unusual bool) (pruneJSON, error) {
	one := pruneJSON{App: app.Name, DryRun: dryRun, Kept: []keptJSON{}, Removed: []string{}}
	plan, err := h.engine.PlanPrune(ctx, app, unusual)
	if err != nil {
		return one, err
	}
	for _, v := range plan.Verdicts {
		if v.Keep {
			one.Kept = append(one.Kept, keptJSON{ID: string(v.Set.ID), Reasons: v.Reasons})
		}
	}
	one.Refused = plan.Refused
	gone := plan.Removals()
	if !dryRun {
		gone, err = h.engine.Prune(ctx, app, unusual)
	}
	for _, s := range gone {
		one.Removed = append(one.Removed, string(s.ID))
	}
	return one, err
}

func (p *program) printPrune(all []pruneJSON) error {
	var rows []table.Row
	for _, one := range all {
		gone := "removed"
		if one.DryRun {
			gone = "would go"
		}
		if one.Refused != "" {
			gone = "stays"
		}
		for _, k := range one.Kept {
			rows = append(rows, table.Row{k.ID, "kept", strings.Join(k.Reasons, ", ")})
		}
		for _, id := range one.Removed {
			rows = append(rows, table.Row{id, gone, one.Refused})
		}
	}
	return p.printTable(table.Row{"set", "verdict", "why"}, rows)
}
