package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
)

func (p *program) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Usage: "take one set now and print its id", ArgsUsage: "[APP...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "label", Usage: "`TEXT` for people, kept with the set"},
			&cli.StringFlag{Name: "pin", Usage: "keep the set from being pruned, for this `REASON`"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and stop"},
			jsonFlag,
		},
		Action: p.snapshot,
	}
}

func (p *program) snapshot(c *cli.Context) error {
	opt := engine.TakeOptions{Label: c.String("label"), Pin: c.String("pin")}
	if err := checkText(c, opt); err != nil {
		return err
	}
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return p.plan(c, h)
	}
	apps, err := h.ownApps(c)
	if err != nil {
		return err
	}
	return p.withProgress(c, h, func(ctx context.Context) error {
		return eachApp(ctx, apps, func(ctx context.Context, app engine.App) error {
			m, err := h.engine.Snapshot(ctx, app, opt)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(m)
			}
			return p.printf("%s\n", m.ID)
		})
	})
}

// checkText refuses labels and reasons that could not be kept or shown.
func checkText(c *cli.Context, opt engine.TakeOptions) error {
	for name, value := range map[string]string{"label": opt.Label, "pin": opt.Pin} {
		if c.IsSet(name) && driver.CheckPin(value) != nil {
			return usagef("--%s %s: want 1 to 200 bytes of UTF-8 without control characters", name, short(value))
		}
	}
	return notOwn(opt.Pin)
}

// short quotes what an operator gave, without filling the screen with it.
func short(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q... (%d bytes)", s[:80], len(s))
	}
	return fmt.Sprintf("%q", s)
}
