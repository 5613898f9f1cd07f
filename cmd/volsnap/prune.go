package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/snapset"
)

func (p *program) pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove the sets that the policy does not keep, here or at a target of this host", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "print which sets would go and why the others stay, and stop"},
			&cli.BoolFlag{Name: "yes", Usage: "remove them even if they are an unusual share of all"},
			&cli.StringFlag{Name: "target", Usage: "at this `TARGET`, which has to be one of this host; a backup server prunes by itself"},
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
	which := h.ownApps
	if c.IsSet("target") {
		which = h.apps
	}
	apps, err := which(c)
	if err != nil {
		return err
	}
	replicas, err := h.replicasAt(c, apps)
	if err != nil {
		return err
	}
	out := []pruneJSON{}
	err = p.withProgress(c, h, func(ctx context.Context) error {
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			var there *engine.Replicas
			if replicas != nil {
				if !hasTarget(app, c.String("target")) {
					return nil
				}
				if there, err = replicas(app); err != nil {
					return err
				}
			}
			one, err := h.pruneApp(ctx, app, there, c.Bool("dry-run"), c.Bool("yes"))
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

// replicasAt is what the target that was asked for keeps of an app; nil if none was asked for.
func (h *host) replicasAt(c *cli.Context, apps []engine.App) (func(engine.App) (*engine.Replicas, error), error) {
	if !c.IsSet("target") {
		return nil, nil
	}
	name, err := h.onlyTarget(c, apps)
	if err != nil {
		return nil, err
	}
	t, err := h.targetOfThisHost(name)
	if err != nil {
		return nil, err
	}
	return func(app engine.App) (*engine.Replicas, error) {
		there, err := h.replicasIn(t, app.Origin == nil)
		there.Keep = app.Keep
		return &there, err
	}, nil
}

// targetOfThisHost is a configured target where something can be removed from here.
func (h *host) targetOfThisHost(name string) (config.Target, error) {
	t, err := h.targetNamed(name)
	if err == nil && t.SSH != "" {
		err = usagef("%q is a backup server: it prunes by its own policy (`volsnap serve --keep`), and takes no orders", name)
	}
	return t, err
}

// replicasIn are those of a target of this host. What another host says of times counts for nothing (own is false).
func (h *host) replicasIn(t config.Target, own bool) (engine.Replicas, error) {
	place, err := placeOf(t.Into, t.Resume, h.links.manifests(t))
	there := engine.Replicas{Place: place, Trusted: own, Zone: h.engine.Zone, Now: h.engine.Now, RunDir: h.run}
	if !own {
		there.Floor = fetchedFloor
	}
	return there, err
}

// fetchedFloor is how long a set that was fetched stays at least, as with `volsnap serve`.
const fetchedFloor = 48 * time.Hour

// pruneApp prunes one app, here or at a target.
func (h *host) pruneApp(ctx context.Context, app engine.App, at *engine.Replicas, dryRun, unusual bool) (pruneJSON, error) {
	one := pruneJSON{App: app.Name, DryRun: dryRun, Kept: []keptJSON{}, Removed: []string{}}
	planOf := func() (engine.PrunePlan, error) { return h.engine.PlanPrune(ctx, app, unusual) }
	carryOut := func() ([]snapset.Set, error) { return h.engine.Prune(ctx, app, unusual) }
	if at != nil {
		planOf = func() (engine.PrunePlan, error) { return at.PlanApp(ctx, app.Name, unusual) }
		carryOut = func() ([]snapset.Set, error) { return h.engine.PruneReplicas(ctx, app, *at, unusual) }
	}
	plan, err := planOf()
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
		gone, err = carryOut()
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
