package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

func (p *program) guardCommand() *cli.Command {
	return &cli.Command{
		Name: "guard", Usage: "take a pinned set, run a command such as an upgrade, and if that fails, say how to go back", ArgsUsage: "APP -- COMMAND...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "health", Usage: "a `COMMAND` for sh -c that has to succeed afterwards; it is tried every second"},
			&cli.StringFlag{Name: "health-timeout", Usage: "how `LONG` it is tried", Value: "5m"},
			&cli.StringFlag{Name: "keep", Usage: "how `LONG` the set is pinned; then the policy decides", Value: "7d"},
			&cli.BoolFlag{Name: "rollback", Usage: "if the command or the health command fails, restore the set in place"},
			jsonFlag,
		},
		Action: p.guard,
	}
}

// guardJSON is what became of a guarded command.
type guardJSON struct {
	Set        string   `json:"set"`
	Command    []string `json:"command"`
	Exit       int      `json:"exit"`
	Health     string   `json:"health"`
	RolledBack bool     `json:"rolled_back"`
	Undo       string   `json:"undo"`
	GoBack     string   `json:"go_back"`
	Error      string   `json:"error"`
}

// The words of guardJSON.Health; it is empty where no health command was run.
const (
	healthOK     = "ok"
	healthFailed = "failed"
)

// guarding is one command that is guarded.
type guarding struct {
	p    *program
	c    *cli.Context
	h    *host
	app  engine.App
	argv []string

	healthLimit, keep time.Duration

	set *snapset.Manifest
	out guardJSON
}

func (p *program) guard(c *cli.Context) error {
	g := &guarding{p: p, c: c}
	if err := g.read(); err != nil {
		return err
	}
	if err := g.take(); err != nil {
		return fmt.Errorf("%s: %w; the command was not run", g.app.Name, err)
	}
	if err := g.possible(c.Context); err != nil {
		err = fmt.Errorf("%w; the command was not run, and %s stays", err, g.set.ID)
		return withHint(err, engine.ErrRefused, "mend what is named, or leave --rollback out")
	}
	err := command.Foreground(c.Context, command.Cmd{Argv: g.argv, Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr})
	// What interrupted the command has done so, and is nothing to what follows; but from here on, a signal is.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(c.Context), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	c.Context = ctx
	return g.judge(ctx, err)
}

// read reads the command line and the configuration.
func (g *guarding) read() (err error) {
	args := g.c.Args().Slice()
	at := slices.Index(args, "--")
	switch {
	case at != 1:
		return usagef("`%s` takes one app, then --, then the command: volsnap guard APP -- docker compose up -d", g.c.Command.HelpName)
	case len(args) == 2 || args[2] == "":
		return usagef("`%s %s --` needs a command after the --", g.c.Command.HelpName, text(args[0]))
	}
	g.argv = args[2:]
	if g.keep, err = g.duration("keep"); err != nil {
		return err
	}
	if g.healthLimit, err = g.duration("health-timeout"); err != nil {
		return err
	}
	switch {
	case g.c.IsSet("health") && strings.TrimSpace(g.c.String("health")) == "":
		return usagef("--health is empty: want a command for sh -c")
	case g.c.IsSet("health-timeout") && !g.c.IsSet("health"):
		return usagef("--health-timeout says how long --health is tried, and that is not given")
	}
	if g.h, err = g.p.open(g.c, false); err != nil {
		return err
	}
	return g.findApp(args[0])
}

func (g *guarding) findApp(name string) error {
	ok := false
	if g.app, ok = g.h.app(name); !ok {
		return usagef("%q is no app of %s", name, g.c.String("config"))
	}
	if g.app.Origin != nil {
		return usagef("the sets of %q are taken on another host (its `source`): run it there", name)
	}
	return nil
}

func (g *guarding) duration(option string) (time.Duration, error) {
	d, err := retention.ParseDuration(g.c.String(option))
	if err != nil {
		return 0, usagef("--%s: %w", option, err)
	}
	if d < time.Second {
		return 0, usagef("--%s %s: want a second at least", option, g.c.String(option))
	}
	return d, nil
}

// take takes the set to go back to.
func (g *guarding) take() error {
	return g.p.withProgress(g.c, g.h, func(ctx context.Context) (err error) {
		g.set, err = g.h.engine.SnapshotBefore(ctx, g.app, engine.GuardOptions{
			Command: recorded(g.argv), Label: beforeLabel(g.argv), Until: g.h.engine.Now().Add(g.keep),
		})
		return err
	})
}

// possible finds out beforehand whether the way back is open. Without --rollback there is time to open it.
func (g *guarding) possible(ctx context.Context) error {
	_, err := g.h.engine.PlanRestore(ctx, g.app, g.set.ID, engine.RestoreOptions{})
	if err != nil && !g.c.Bool("rollback") {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("as things are, the set could not be restored in place")
		return nil
	}
	return err
}

// maxRecorded is how many bytes of a command go into a manifest, which has a size that is read.
const maxRecorded = 8 << 10

// recorded is a command as a manifest has it: without its end if it is very long.
func recorded(argv []string) []string {
	size := 0
	var out []string
	for _, word := range argv {
		if size += len(word) + 1; size > maxRecorded {
			return append(out, "…")
		}
		out = append(out, strings.ToValidUTF8(word, "�"))
	}
	return out
}

const maxLabel = 200 // bytes; see driver.CheckPin

// beforeLabel is the label of a set that is taken before a command, cut to fit.
func beforeLabel(argv []string) string {
	const more = "…"
	label := "before: " + strings.ToValidUTF8(command.Quote(argv), "�")
	if len(label) > maxLabel {
		label = strings.ToValidUTF8(label[:maxLabel-len(more)], "") + more
	}
	return label
}

// judge decides what has become of the command, which ended with ran, and reports.
func (g *guarding) judge(ctx context.Context, ran error) error {
	g.out = guardJSON{Set: string(g.set.ID), Command: g.argv, Exit: exitOf(ran)}
	failed := ran
	if failed == nil && g.c.IsSet("health") {
		g.out.Health = healthOK
		if failed = g.awaitHealth(ctx); failed != nil {
			g.out.Health = healthFailed
		}
	}
	if failed == nil {
		return g.document()
	}
	g.out.Error = printable(failed)
	status := statusError(exitFailed)
	if ctx.Err() != nil || errors.Is(failed, context.Canceled) {
		status = exitInterrupted
	}
	return g.failed(ctx, failed, status)
}

// exitOf is the exit status of a command that ended with err: as a shell has it where a signal ended it, -1 where it did not start.
func exitOf(err error) int {
	var e *command.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e) && e.Signal != 0:
		return 128 + int(e.Signal)
	case errors.As(err, &e):
		return e.Exit
	}
	return -1
}

// document prints the JSON that was asked for.
func (g *guarding) document() error {
	if !g.c.Bool("json") {
		return nil
	}
	return g.p.printJSON(g.out)
}

const healthEvery = time.Second

// awaitHealth tries the health command until it succeeds.
func (g *guarding) awaitHealth(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, g.healthLimit)
	defer cancel()
	again := time.NewTicker(healthEvery)
	defer again.Stop()
	var last error
	for {
		_, err := command.Run(limited, command.Cmd{Argv: []string{"sh", "-c", g.c.String("health")}})
		if err == nil {
			return nil
		}
		if limited.Err() == nil || last == nil {
			last = err // and not that the last try was cut short
		}
		select {
		case <-again.C:
			continue
		case <-limited.Done():
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted while the health command was tried: %w: %w", last, ctx.Err())
		}
		return fmt.Errorf("the health command did not succeed within %s: %w", g.healthLimit, last)
	}
}
