package main

import (
	"github.com/urfave/cli/v2"
)

const defaultConfig = "/etc/volsnap/volsnap.yaml"

func (p *program) app() *cli.App {
	return &cli.App{
		Name:      "volsnap",
		Usage:     "consistent snapshots of a Docker host's volumes: take, list, keep, prune",
		UsageText: "volsnap [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n\nOptions may stand before or after arguments.",
		Version:   version,
		Writer:    p.stdout, ErrWriter: p.stderr, Reader: p.stdin,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE`", Value: defaultConfig, EnvVars: []string{"VOLSNAP_CONFIG"}},
			&cli.StringFlag{Name: "state-dir", Usage: "`DIR` of manifests and reports (overrides the configuration)"},
			&cli.StringFlag{Name: "run-dir", Usage: "`DIR` of locks and the freeze journal (overrides the configuration)"},
			&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", Value: "info"},
			&cli.StringFlag{Name: "log-format", Usage: "auto, console or json; auto is console on a terminal", Value: "auto"},
		},
		Before: p.setUp,
		Action: func(c *cli.Context) error { return usagef("no command is given; `volsnap help` lists them") },
		Commands: []*cli.Command{
			p.initCommand(), p.checkCommand(), p.planCommand(), p.snapshotCommand(), p.runCommand(), p.pruneCommand(),
			p.listCommand(), p.showCommand(), p.whyCommand(), p.pinCommand(), p.unpinCommand(), p.deleteCommand(),
			p.statusCommand(), p.thawCommand(), p.retentionCommand(), p.deadManCommand(),
		},
		ExitErrHandler: func(*cli.Context, error) {}, // exitStatus decides
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		HideHelp:       false,
	}
}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
