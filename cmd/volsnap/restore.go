package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/restore"
	"github.com/volsnap/volsnap/transport/ssh"
)

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "put a set back in the place of the app's volumes, keeping what is there, or beside them", ArgsUsage: "SET",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "in-place", Usage: "stop the app's containers, keep the present state as an undo set, replace, start them"},
			&cli.StringFlag{Name: "to", Usage: "make datasets and Docker volumes called `PREFIX`_VOLUME beside what is there, which stays as it is"},
			&cli.StringFlag{Name: "from", Usage: "fetch the set from this `TARGET` of the configuration first, or from ssh:DESTINATION"},
			&cli.StringFlag{Name: "client", Usage: "with ssh:DESTINATION, whose replicas: the `NAME` that the backup server knows this host by, where the key does not say so"},
			&cli.StringFlag{Name: "identity", Usage: "with ssh:DESTINATION, the `FILE` of the private key"},
			&cli.StringSliceFlag{Name: "volume", Usage: "only this `VOLUME` of the set; may be given again"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be done, and stop"},
			&cli.BoolFlag{Name: "yes", Usage: "do it without asking; needed where there is no terminal"},
			jsonFlag,
		},
		Action: p.restore,
	}
}

func (p *program) restore(c *cli.Context) error {
	args, err := arguments(c, "SET")
	if err != nil {
		return err
	}
	if c.Bool("in-place") == c.IsSet("to") {
		return usagef("`%s` needs either --in-place or --to PREFIX", c.Command.HelpName)
	}
	if c.Bool("in-place") && !c.Bool("dry-run") && !c.Bool("yes") && !isTerminal(p.stdin) {
		return usagef("`%s` replaces volumes and stops containers: look at --dry-run, then give --yes", c.Command.HelpName)
	}
	h, err := p.open(c, c.IsSet("to") && (!c.IsSet("from") || strings.HasPrefix(c.String("from"), "ssh:")))
	if err != nil {
		return err
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	opt, err := h.restoreOptions(c)
	if err != nil {
		return err
	}
	id, err := which(c.Context, args[0], opt)
	if err != nil {
		return err
	}
	if c.IsSet("to") {
		return p.restoreBeside(c, h, id, opt)
	}
	app, ok := h.app(id.App())
	if !ok {
		return usagef("%s configures no app %q, whose set this is", c.String("config"), id.App())
	}
	return p.restoreInPlace(c, h, app, id, opt)
}

// which is the set that is meant: with --from, the name of an app is its newest complete one there.
func which(ctx context.Context, arg string, opt engine.RestoreOptions) (driver.SetID, error) {
	if opt.From != nil && driver.ValidApp(arg) {
		if _, err := driver.ParseSetID(arg); err != nil {
			return engine.NewestAt(ctx, *opt.From, arg)
		}
	}
	return setID(arg)
}

// restoreOptions are those that both kinds of restore have.
func (h *host) restoreOptions(c *cli.Context) (engine.RestoreOptions, error) {
	opt := engine.RestoreOptions{Volumes: c.StringSlice("volume")}
	var err error
	if c.IsSet("from") {
		opt.From, err = h.from(c)
	} else if c.IsSet("client") || c.IsSet("identity") {
		err = usagef("--client and --identity belong to --from ssh:DESTINATION, which is missing")
	}
	return opt, err
}

// from is where a set is fetched from.
func (h *host) from(c *cli.Context) (*engine.From, error) {
	name := c.String("from")
	destination, bySSH := strings.CutPrefix(name, "ssh:")
	switch {
	case !bySSH && (c.IsSet("client") || c.IsSet("identity")):
		return nil, usagef("--client and --identity belong to --from ssh:DESTINATION, not to a target of the configuration")
	case bySSH && !config.ValidDestination(destination):
		return nil, usagef("--from %q: want ssh: and a destination as ssh takes it, such as ssh:volsnap@backup.example.org", name)
	case c.IsSet("client") && !clientPattern.MatchString(c.String("client")):
		return nil, usagef("--client %q is no name of a client", c.String("client"))
	}
	if bySSH {
		host := ssh.Host{Destination: destination, Identity: c.String("identity"), Client: c.String("client")}
		return &engine.From{Name: name, Open: func(ctx context.Context) (engine.ReplicaSource, error) {
			client, err := connect(ctx, host)
			if err == nil {
				h.links.keep(client.Close)
			}
			return client, err
		}}, nil
	}
	t, err := h.targetNamed(name)
	if err != nil {
		return nil, err
	}
	return &engine.From{Name: t.Name, Open: func(ctx context.Context) (engine.ReplicaSource, error) {
		link, err := h.links.to(ctx, t)
		if err != nil {
			return nil, err
		}
		source, ok := link.(engine.ReplicaSource)
		if !ok {
			return nil, fmt.Errorf("target %s: it sends nothing back", t.Name)
		}
		return source, nil
	}}, nil
}

func (p *program) restoreInPlace(c *cli.Context, h *host, app engine.App, id driver.SetID, opt engine.RestoreOptions) error {
	if c.Bool("dry-run") || !c.Bool("yes") {
		plan, err := h.engine.PlanRestore(c.Context, app, id, opt)
		if err != nil {
			return badVolume(err)
		}
		if c.Bool("dry-run") && c.Bool("json") {
			return p.printJSON(engine.PlannedRestore(plan))
		}
		if err := p.printRestorePlan(plan); err != nil || c.Bool("dry-run") {
			return err
		}
		if err := p.confirm(fmt.Sprintf("Replace the volumes of %s as above?", app.Name)); err != nil {
			return err
		}
	}
	var r report.Restore
	err := p.withProgress(c, h, func(ctx context.Context) error {
		var err error
		r, err = h.engine.RestoreInPlace(ctx, app, id, opt)
		return err
	})
	if err != nil {
		return badVolume(err)
	}
	if c.Bool("json") {
		return p.printJSON(r)
	}
	return p.printRestored(r)
}

func (p *program) restoreBeside(c *cli.Context, h *host, id driver.SetID, opt engine.RestoreOptions) error {
	var r report.Restore
	err := p.withProgress(c, h, func(ctx context.Context) error {
		var err error
		r, err = h.engine.RestoreBeside(ctx, id, c.String("to"), opt, c.Bool("dry-run"))
		return err
	})
	if err != nil {
		return badVolume(err)
	}
	if c.Bool("json") {
		return p.printJSON(r)
	}
	return p.printBeside(r)
}

func (p *program) printBeside(r report.Restore) error {
	verdict := "restored"
	if r.DryRun {
		verdict = "would be restored"
	}
	var rows []table.Row
	for _, m := range r.Members {
		rows = append(rows, table.Row{m.Volume, verdict, m.Docker, m.HostPath})
	}
	return p.printTable(table.Row{"volume", "verdict", "docker volume", "where"}, rows)
}

// badVolume is what was asked for and is not there.
func badVolume(err error) error {
	if errors.Is(err, engine.ErrNoVolume) || errors.Is(err, engine.ErrBadPrefix) {
		return usageError{err}
	}
	return err
}

// confirm asks at the terminal.
func (p *program) confirm(question string) error {
	if err := p.printf("\n%s Type yes: ", question); err != nil {
		return err
	}
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errors.New("not confirmed: nothing was done"), err)
	}
	return nil
}

func (p *program) printRestorePlan(plan *restore.Plan) error {
	var rows []table.Row
	for _, one := range slices.Backward(plan.Containers) {
		if !one.Idle {
			rows = append(rows, table.Row{"stop", one.Name, ""})
		}
	}
	rows = append(rows, table.Row{"keep", "the present state", "as a new set, pinned until it is deleted by name"})
	for _, it := range plan.Items {
		how := "swap the dataset " + it.Dataset.String() + " for a clone of " + it.Snapshot.Name
		if it.Method == restore.Copy {
			how = "copy it from " + it.Snapshot.Name + ", since " + it.Dataset.String() + " holds other things too"
		}
		rows = append(rows, table.Row{"replace", strings.Join(it.Volumes, ", "), how})
	}
	for _, one := range plan.Containers {
		if one.Idle {
			continue
		}
		detail := ""
		if one.Database != nil {
			detail = "and wait until PostgreSQL accepts connections"
		}
		rows = append(rows, table.Row{"start", one.Name, detail})
	}
	return p.printTable(table.Row{"step", "what", "how"}, rows)
}

func (p *program) printRestored(r report.Restore) error {
	var rows []table.Row
	for _, m := range r.Members {
		rows = append(rows, table.Row{m.Volume, "restored", m.HostPath})
	}
	for _, kept := range r.Kept {
		rows = append(rows, table.Row{"", "left", kept})
	}
	if r.Undo != "" {
		rows = append(rows, table.Row{"", "undo", fmt.Sprintf("volsnap restore %s --in-place", r.Undo)})
	}
	if r.ReadyMS != nil {
		rows = append(rows, table.Row{"", "ready", "PostgreSQL accepted connections after " + ms(*r.ReadyMS)})
	}
	return p.printTable(table.Row{"volume", "verdict", "where"}, rows)
}
