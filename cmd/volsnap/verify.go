package main

import (
	"context"
	"errors"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/report"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "compare a set with its replica at a target", ArgsUsage: "SET",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "the `TARGET` that has the replica"},
			&cli.BoolFlag{Name: "content", Usage: "read all that both hold, and compare that too"},
			jsonFlag,
		},
		Action: p.verify,
	}
}

func (p *program) verify(c *cli.Context) error {
	id, err := setArgument(c)
	if err == nil {
		err = needed(c, "from")
	}
	if err != nil {
		return err
	}
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	t, err := h.targetNamed(c.String("from"))
	if err != nil {
		return err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	var r report.Verification
	err = p.withProgress(c, h, func(ctx context.Context) error {
		link, err := h.links.to(ctx, t)
		if err != nil {
			return err
		}
		r, err = h.engine.Verify(ctx, id, t.Name, link, c.Bool("content"))
		return err
	})
	if r.Set == "" {
		return err
	}
	if c.Bool("json") {
		return errors.Join(err, p.printJSON(r))
	}
	return errors.Join(err, p.printVerification(r))
}

func (p *program) printVerification(r report.Verification) error {
	var rows []table.Row
	for _, fault := range r.Faults {
		rows = append(rows, table.Row{r.Set, "DIFFERS", fault, ""})
	}
	for _, m := range r.Members {
		verdict, size := "same state", ""
		switch {
		case !m.OK:
			verdict = "NOT VERIFIED: " + m.Error
		case m.Content != nil:
			verdict, size = "same content", humanize.IBytes(uint64(m.Content.Bytes))
		}
		rows = append(rows, table.Row{m.Dataset, verdict, m.Replica, size})
	}
	return p.printTable(table.Row{"dataset", "verdict", "replica", "size"}, rows)
}
