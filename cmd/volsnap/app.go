package main

import (
	"github.com/urfave/cli/v2"
)

const defaultConfig = "/etc/volsnap/volsnap.yaml"

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "volsnap",
		Usage: "consistent snapshots of a Docker host's volumes: take, list, keep, prune, restore",
		UsageText: "volsnap [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\nvolsnap help COMMAND\n\n" +
			"Options may stand before or after arguments. Results go to stdout, everything else to stderr.\n" +
			"Exit status: 0 done, 1 failed, 2 bad usage or configuration, 3 some of several apps failed,\n" +
			"4 another run has the lock, 130 interrupted.",
		Version: version,
		Writer:  p.stdout, ErrWriter: p.stderr, Reader: p.stdin,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE`", Value: defaultConfig, EnvVars: []string{"VOLSNAP_CONFIG"}},
			&cli.StringFlag{Name: "state-dir", Usage: "`DIR` of manifests and reports (overrides the configuration)"},
			&cli.StringFlag{Name: "run-dir", Usage: "`DIR` of locks and the freeze journal (overrides the configuration)"},
			&cli.StringFlag{Name: "log-level", Usage: "`LEVEL` of the log: debug, info, warn or error", Value: "info"},
			&cli.StringFlag{Name: "log-format", Usage: "`FORMAT` of the log: auto, console or json; auto is console on a terminal", Value: "auto"},
		},
		Before: p.setUp,
		Action: func(c *cli.Context) error { return usagef("no command is given; `volsnap help` lists them") },
		Commands: []*cli.Command{
			p.initCommand(), p.checkCommand(), p.planCommand(), p.snapshotCommand(), p.runCommand(), p.pruneCommand(),
			p.listCommand(), p.showCommand(), p.whyCommand(), p.pinCommand(), p.unpinCommand(), p.deleteCommand(),
			p.replicateCommand(), p.verifyCommand(), p.restoreCommand(), p.drillCommand(), p.guardCommand(), p.mountCommand(), p.umountCommand(),
			p.statusCommand(), p.thawCommand(), p.retentionCommand(), p.serveCommand(), p.deadManCommand(),
		},
		ExitErrHandler:  func(*cli.Context, error) {}, // exitStatus decides
		OnUsageError:    onUsageError,
		HideHelpCommand: true, // arrange does what it would do

		DisableSliceFlagSeparator: true, // a path may have a comma
	}
	for _, c := range app.Commands {
		settle(c)
	}
	return app
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return usageError{err} }

// settle gives a command, and those below it, what urfave/cli does not hand down.
func settle(c *cli.Command) {
	c.OnUsageError, c.HideHelpCommand = onUsageError, true
	for _, sub := range c.Subcommands {
		settle(sub)
	}
}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
