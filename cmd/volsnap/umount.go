package main

import (
	"errors"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/engine"
)

func (p *program) umountCommand() *cli.Command {
	return &cli.Command{
		Name: "umount", Usage: "take away what `mount` has made at a directory, or has left there when it was killed", ArgsUsage: "DIR",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			dir, err := dirArgument(args[0])
			if err != nil {
				return err
			}
			run, err := runDir(c)
			if err != nil {
				return err
			}
			e := &engine.Engine{Drivers: drivers(), RunDir: run}
			err = e.Unmount(c.Context, dir, openPlace)
			if errors.Is(err, engine.ErrNotMounted) {
				return usageError{err}
			}
			return err
		},
	}
}

// runDir is the run directory of a command that needs nothing else of a configuration, and goes on with a bad one.
func runDir(c *cli.Context) (string, error) {
	run := config.DefaultRunDir
	if !c.IsSet("run-dir") {
		cfg, err := config.Load(c.String("config"))
		switch {
		case err == nil:
			run = cfg.RunDir
		case c.IsSet("config"):
			zerolog.Ctx(c.Context).Warn().Err(err).Msg("the configuration cannot be read; the run directory is " + run)
		}
	}
	if err := override(c, "run-dir", &run); err != nil {
		return "", err
	}
	return run, ours("run directory", run)
}
