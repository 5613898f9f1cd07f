package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/snapset"
)

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the sets on this host, or those at a target, oldest first", ArgsUsage: "[APP]",
		Flags: []cli.Flag{&cli.StringFlag{Name: "target", Usage: "what is at this `TARGET`"}, jsonFlag},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("`volsnap list` takes one app at most")
			}
			app := c.Args().First()
			if c.NArg() == 1 && !driver.ValidApp(app) {
				return usagef("%q is no name of an app", app)
			}
			h, err := p.open(c, !c.IsSet("target"))
			if err != nil {
				return err
			}
			if c.IsSet("target") {
				sets, err := h.setsAt(c, c.String("target"), app)
				if err != nil {
					return err
				}
				return p.printSets(c, sets)
			}
			sets, err := h.engine.Sets(c.Context, app)
			return errors.Join(p.printSets(c, sets), err) // what was found may be what somebody needs now
		},
	}
}

// setsAt lists what a target has. Its snapshots are named by where they lie there.
func (h *host) setsAt(c *cli.Context, target, app string) ([]snapset.Set, error) {
	t, err := h.targetNamed(target)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	link, err := h.links.to(c.Context, t)
	if err != nil {
		return nil, err
	}
	l, err := link.List(c.Context, app, true)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return l.Sets(), nil
}

func (p *program) printSets(c *cli.Context, sets []snapset.Set) error {
	if c.Bool("json") {
		manifests := make([]*snapset.Manifest, 0, len(sets))
		for _, s := range sets {
			manifests = append(manifests, s.Manifest)
		}
		return p.printJSON(manifests)
	}
	rows := make([]table.Row, 0, len(sets))
	for _, s := range sets {
		m := s.Manifest
		class := string(m.Consistency)
		if !s.Complete {
			class = "INCOMPLETE"
		}
		rows = append(rows, table.Row{
			s.ID, m.Created.Local().Format(time.DateTime), class, len(m.Members), m.Label, strings.Join(m.Pins, ", "),
		})
	}
	return p.printTable(table.Row{"set", "created", "consistency", "volumes", "label", "pins"}, rows)
}

func (p *program) showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print what is recorded of one set, on this host or at a target", ArgsUsage: "SET",
		Flags: []cli.Flag{&cli.StringFlag{Name: "target", Usage: "of its replica at this `TARGET`"}, jsonFlag},
		Action: func(c *cli.Context) error {
			find := p.oneSet
			if c.IsSet("target") {
				find = p.oneReplica
			}
			s, err := find(c)
			switch {
			case s.Manifest == nil:
				return err
			case c.Bool("json"):
				return errors.Join(p.printJSON(s.Manifest), err)
			}
			return errors.Join(p.printManifest(s.Manifest), err)
		},
	}
}

// setArgument is the set that is the only argument.
func setArgument(c *cli.Context) (driver.SetID, error) {
	args, err := arguments(c, "SET")
	if err != nil {
		return "", err
	}
	return setID(args[0])
}

// oneSet finds the set that is the only argument.
func (p *program) oneSet(c *cli.Context) (snapset.Set, error) {
	id, err := setArgument(c)
	if err != nil {
		return snapset.Set{}, err
	}
	h, err := p.open(c, true)
	if err != nil {
		return snapset.Set{}, err
	}
	if _, err := h.engine.Store.Read(id); err != nil {
		zerolog.Ctx(c.Context).Warn().Err(err).Msg("the manifest is lost; what follows is what the snapshots carry")
	}
	return h.engine.Set(c.Context, id)
}

// oneReplica finds the replica, at the target that was named, of the set that is the only argument.
func (p *program) oneReplica(c *cli.Context) (snapset.Set, error) {
	id, err := setArgument(c)
	if err != nil {
		return snapset.Set{}, err
	}
	h, err := p.open(c, false)
	if err != nil {
		return snapset.Set{}, err
	}
	sets, err := h.setsAt(c, c.String("target"), id.App())
	if err != nil {
		return snapset.Set{}, err
	}
	for _, s := range sets {
		if s.ID == id {
			return s, nil
		}
	}
	return snapset.Set{}, fmt.Errorf("%s at %s: %w", id, c.String("target"), engine.ErrNoSet)
}

// guardLines are what a set was taken before, and what ran then.
func guardLines(g *snapset.Guard) []string {
	if g == nil {
		return nil
	}
	lines := []string{"  before       " + text(command.Quote(g.Command))}
	for _, i := range g.Images {
		lines = append(lines, "    "+text(i.Container+" ran "+i.Image+" "+i.ID))
		for _, d := range i.Digests {
			lines = append(lines, "      "+text(d))
		}
	}
	if g.Alembic != "" {
		lines = append(lines, "  schema       "+text(g.Alembic)+" (alembic_version)")
	}
	return lines
}

func (p *program) printManifest(m *snapset.Manifest) error {
	state := "complete, " + string(m.Consistency)
	if !m.Complete {
		state = "INCOMPLETE: " + strings.Join(m.Faults, "; ")
	}
	lines := []string{string(m.ID), "  created      " + m.Created.Local().Format(time.RFC3339), "  state        " + text(state)}
	if m.Label != "" {
		lines = append(lines, "  label        "+text(m.Label))
	}
	for _, pin := range m.Pins {
		lines = append(lines, "  pinned       "+text(pin))
	}
	if len(m.Containers) > 0 {
		lines = append(lines, "  pause        "+ms(m.PauseMS))
	}
	for _, c := range m.Containers {
		lines = append(lines, "    "+text(c.Step+" "+c.Name)+" "+ms(c.PausedMS))
	}
	for _, cp := range m.Checkpoints {
		lines = append(lines, "  checkpoint   "+text(cp.Container+" at "+cp.LSN)+" in "+ms(cp.TookMS))
	}
	for _, d := range m.Drills {
		lines = append(lines, "  drill        "+text(verdict(d)))
	}
	lines = append(lines, guardLines(m.Guard)...)
	if err := p.printf("%s\n", strings.Join(lines, "\n")); err != nil {
		return err
	}
	rows := make([]table.Row, 0, len(m.Members))
	for _, v := range m.Members {
		order := strings.Join(v.NotOlderThan, ", ")
		if v.OrderedBy != "" {
			order += " (" + string(v.OrderedBy) + ")"
		}
		rows = append(rows, table.Row{v.Volume, v.Snapshot, v.Path, v.GUID, order})
	}
	return p.printTable(table.Row{"volume", "snapshot", "path in it", "guid", "not older than"}, rows)
}

// verdict is how a drill of the set ended.
func verdict(d snapset.Drill) string {
	said := "passed"
	if !d.OK {
		said = "FAILED: " + strings.Join(d.Failed, ", ")
	}
	said += " " + d.Time.Local().Format(time.DateTime)
	if d.From != "" {
		said += ", the replica at " + d.From
	}
	if d.ReadyMS > 0 {
		said += ", PostgreSQL was ready after " + ms(d.ReadyMS)
	}
	return said
}
