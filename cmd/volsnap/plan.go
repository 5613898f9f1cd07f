package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
)

func (p *program) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "print the steps of a run, and change nothing", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			h, err := p.open(c, false)
			if err != nil {
				return err
			}
			return p.plan(c, h)
		},
	}
}

// plan prints the plans of the apps that the arguments name.
func (p *program) plan(c *cli.Context, h *host) error {
	apps, err := h.ownApps(c)
	if err != nil {
		return err
	}
	plans := []planJSON{}
	err = eachApp(c.Context, apps, func(ctx context.Context, app engine.App) error {
		plan, err := h.engine.Plan(ctx, app)
		if err != nil {
			return err
		}
		plans = append(plans, newPlanJSON(plan))
		if !c.Bool("json") {
			if err := p.printPlan(plan); err != nil {
				return err
			}
		}
		return plan.Err()
	})
	if c.Bool("json") {
		if err := p.printJSON(plans); err != nil {
			return err
		}
	}
	return err
}

type planJSON struct {
	App         string        `json:"app"`
	OK          bool          `json:"ok"`
	Consistency string        `json:"consistency"`
	Members     []memberJSON  `json:"members"`
	Steps       []stepJSON    `json:"steps"`
	Targets     []string      `json:"targets"`
	Problems    []problemJSON `json:"problems"`
}

type memberJSON struct {
	Volume       string   `json:"volume"`
	Driver       string   `json:"driver"`
	Dataset      string   `json:"dataset"`
	Path         string   `json:"path"`
	NotOlderThan []string `json:"not_older_than"`
}

type stepJSON struct {
	Kind       string   `json:"kind"`
	Containers []string `json:"containers"`
	Detail     string   `json:"detail"`
}

type problemJSON struct {
	Level string `json:"level"`
	About string `json:"about"`
	What  string `json:"what"`
	Mend  string `json:"mend"`
}

func newPlanJSON(plan *engine.Plan) planJSON {
	out := planJSON{
		App: plan.App.Name, OK: !plan.Failed(), Consistency: string(plan.Consistency),
		Members: []memberJSON{}, Steps: []stepJSON{}, Targets: targetNames(plan.App), Problems: problemsJSON(plan.Problems),
	}
	for _, m := range plan.Members {
		out.Members = append(out.Members, memberJSON{
			Volume: m.Volume, Driver: m.Place.Dataset.Kind, Dataset: m.Place.Dataset.Name, Path: m.Place.Path,
			NotOlderThan: append([]string{}, m.NotOlderThan...),
		})
	}
	for _, s := range plan.Steps {
		out.Steps = append(out.Steps, stepJSON{Kind: s.Kind, Containers: append([]string{}, s.Containers...), Detail: s.Detail})
	}
	return out
}

func targetNames(app engine.App) []string {
	names := []string{}
	for _, t := range app.Targets {
		names = append(names, t.Name)
	}
	return names
}

func problemsJSON(problems []engine.Problem) []problemJSON {
	out := []problemJSON{}
	for _, q := range problems {
		out = append(out, problemJSON{Level: string(q.Level), About: q.About, What: q.What, Mend: q.Mend})
	}
	return out
}

func (p *program) printPlan(plan *engine.Plan) error {
	volumes := "1 volume"
	if n := len(plan.Members); n != 1 {
		volumes = fmt.Sprintf("%d volumes", n)
	}
	if err := p.printf("app %s: one set of %s, expected to be %s\n\n", plan.App.Name, volumes, plan.Consistency); err != nil {
		return err
	}
	var rows []table.Row
	for _, m := range plan.Members {
		kind, dataset := m.Place.Dataset.Kind, m.Place.Dataset.Name
		if kind == "" {
			kind, dataset = "none", m.HostPath
		}
		rows = append(rows, table.Row{m.Volume, kind, dataset, m.Place.Path, strings.Join(m.NotOlderThan, ", ")})
	}
	if err := p.printTable(table.Row{"volume", "driver", "dataset", "path in it", "not older than"}, rows); err != nil {
		return err
	}
	if err := p.printSteps(plan); err != nil {
		return err
	}
	for _, q := range plan.Problems {
		if err := p.printf("%s: %s: %s\n", q.Level, text(q.About), text(q.What)); err != nil {
			return err
		}
		if q.Mend != "" {
			if err := p.printf("  mend: %s\n", text(q.Mend)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *program) printSteps(plan *engine.Plan) error {
	lines := []string{"", "prepare  (nobody waits)"}
	for _, s := range plan.Steps {
		if s.Kind == "postgres" {
			lines = append(lines, "  "+text(strings.Join(s.Containers, ", ")+": "+s.Detail))
		}
	}
	lines = append(lines, "  flush the file systems", "freeze")
	for _, s := range plan.Steps {
		lines = append(lines, "  "+text(s.Kind+" "+strings.Join(s.Containers, ", ")+": "+s.Detail))
	}
	if len(plan.Steps) == 0 {
		lines = append(lines, "  nothing: writers go on")
	}
	lines = append(lines, "snapshot  all datasets", "thaw      in reverse", "seal      verify the members, write the manifest")
	if names := targetNames(plan.App); len(names) > 0 {
		lines = append(lines, "replicate (by `run` and `replicate`) to "+text(strings.Join(names, ", "))+", what is missing there")
	}
	lines = append(lines, "")
	return p.printf("%s\n", strings.Join(lines, "\n"))
}
