package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/transport"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "receive sets on standard input and output; the forced command of a client's ssh key",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "client", Usage: "`NAME` of the client whose sets these are"},
			&cli.StringSliceFlag{Name: "into", Usage: "`KIND:WHERE` its replicas lie, once a kind: btrfs:DIR, zfs:DATASET, lvm:VG/THINPOOL"},
			&cli.StringFlag{Name: "keep", Usage: "`POLICY` by which its replicas are pruned after it has gone, such as daily=30,monthly=24"},
			&cli.StringFlag{Name: "floor", Usage: "what arrived less than this `DURATION` ago stays all the same", Value: defaultFloor},
			&cli.BoolFlag{Name: "resume", Usage: "spool streams that the storage cannot resume, so that they can"},
		},
		Action: p.serve,
	}
}

var clientPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

func (p *program) serve(c *cli.Context) error {
	if err := errors.Join(noArguments(c), needed(c, "client", "into")); err != nil {
		return err
	}
	client := c.String("client")
	if !clientPattern.MatchString(client) {
		return usagef(`--client %q: want letters, digits, "_", "." and "-", with a letter or digit first, at most 100`, client)
	}
	into, err := config.ParseIntos(c.StringSlice("into"))
	if err != nil {
		return usagef("--into %w", err)
	}
	keep, floor, err := pruning(c)
	if err != nil {
		return err
	}
	state := config.DefaultStateDir
	if err := override(c, "state-dir", &state); err != nil {
		return err
	}
	if err := ours("state directory", state); err != nil {
		return err
	}
	place, err := placeOf(into, c.Bool("resume"), filepath.Join(state, "replicas", client))
	if err != nil {
		return err
	}
	log := zerolog.Ctx(c.Context).With().Str("client", client).Logger()
	ctx := log.WithContext(c.Context)
	err = transport.Serve(ctx, place, transport.Grant{}, newStdio(p.stdin, p.stdout))
	if keep == nil || ctx.Err() != nil {
		return err
	}
	replicas := engine.Replicas{Place: place, Keep: *keep, Floor: floor, Zone: time.Local, Now: time.Now}
	_, pruneErr := replicas.Prune(ctx)
	return errors.Join(err, pruneErr)
}

// defaultFloor is longer than a night that nobody looked at.
const defaultFloor = "48h"

// pruning reads --keep and --floor; nil: nothing is ever pruned.
func pruning(c *cli.Context) (*retention.Policy, time.Duration, error) {
	floor, err := retention.ParseDuration(c.String("floor"))
	if err != nil || floor < 0 {
		return nil, 0, usagef("--floor %q: want a duration such as 48h or 7d", c.String("floor"))
	}
	if !c.IsSet("keep") {
		return nil, floor, nil
	}
	keep, err := retention.ParseKeep(c.String("keep"))
	if err != nil {
		return nil, 0, usagef("--keep: %w", err)
	}
	return &keep, floor, nil
}
