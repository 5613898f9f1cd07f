package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/quiesce"
)

// deadManCommand is how volsnap starts its own second process. It is not for people.
func (p *program) deadManCommand() *cli.Command {
	return &cli.Command{
		Name: "dead-man", Hidden: true,
		Flags: []cli.Flag{&cli.StringFlag{Name: "journal"}},
		Action: func(c *cli.Context) error {
			if err := errors.Join(noArguments(c), needed(c, "journal")); err != nil {
				return err
			}
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // they end the run; the dead-man ends after it
			// Out of memory, the kernel should take another one. Without the right to ask for that, it stays as it is.
			_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
			journal, err := quiesce.JournalAt(c.String("journal"))
			if err != nil {
				return usageError{err}
			}
			d, err := docker.New("")
			if err != nil {
				return err
			}
			if err := d.Ping(c.Context); err != nil {
				return err
			}
			err = quiesce.ServeDeadMan(c.Context, d, journal, p.stdin, p.stdout)
			return errors.Join(err, engine.Release(c.Context, drivers())) // which finds nothing, unless the run was killed
		},
	}
}
