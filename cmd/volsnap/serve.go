package main

import (
	"errors"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "receive or send sets on standard input and output; the forced command of a client's ssh key",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "client", Usage: "`NAME` of the client whose sets these are"},
			&cli.StringSliceFlag{Name: "into", Usage: "`KIND:WHERE` its replicas lie, once a kind: btrfs:DIR, zfs:DATASET, lvm:VG/THINPOOL"},
			&cli.StringSliceFlag{Name: "send", Usage: "`APP` of this host whose sets the client may fetch; may be given several times"},
			&cli.StringFlag{Name: "keep", Usage: "`POLICY` by which its replicas are pruned after it has gone, such as daily=30,monthly=24"},
			&cli.StringFlag{Name: "floor", Usage: "what arrived less than this `DURATION` ago stays all the same", Value: defaultFloor},
			&cli.BoolFlag{Name: "verify", Usage: "let the client have its replicas read as a whole, for `volsnap verify --content`; they are mounted for that time"},
			&cli.BoolFlag{Name: "resume", Usage: "spool streams that the storage cannot resume, so that they can"},
		},
		Action: p.serve,
	}
}

var clientPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

func (p *program) serve(c *cli.Context) error {
	if err := errors.Join(noArguments(c), needed(c, "client")); err != nil {
		return err
	}
	client := c.String("client")
	if !clientPattern.MatchString(client) {
		return usagef(`--client %q: want letters, digits, "_", "." and "-", with a letter or digit first, at most 100`, client)
	}
	state := config.DefaultStateDir
	if err := override(c, "state-dir", &state); err != nil {
		return err
	}
	if err := ours("state directory", state); err != nil {
		return err
	}
	manifests := filepath.Join(state, "replicas", client)
	place, replicas, err := clientsPlace(c, manifests)
	if err == nil && place == nil && !c.IsSet("send") {
		place, err = rememberedPlace(manifests)
	}
	if err != nil {
		return err
	}
	origin, err := clientsOrigin(c, client, snapset.Store{Dir: state})
	if err != nil {
		return err
	}
	log := zerolog.Ctx(c.Context).With().Str("client", client).Logger()
	ctx := log.WithContext(c.Context)
	err = transport.Serve(ctx, transport.Served{Place: place, Origin: origin}, newStdio(p.stdin, p.stdout))
	if replicas == nil || ctx.Err() != nil {
		return err
	}
	_, pruneErr := replicas.Prune(ctx)
	return errors.Join(err, pruneErr)
}

// clientsPlace is where the client's replicas lie, and how they are pruned; nil: not at all.
func clientsPlace(c *cli.Context, manifests string) (*replicate.Place, *engine.Replicas, error) {
	if !c.IsSet("into") {
		for _, name := range []string{"keep", "floor", "resume", "verify"} {
			if c.IsSet(name) {
				return nil, nil, usagef("--%s belongs to --into, which is missing", name)
			}
		}
		return nil, nil, nil
	}
	into, err := config.ParseIntos(c.StringSlice("into"))
	if err != nil {
		return nil, nil, usagef("--into %w", err)
	}
	keep, floor, err := pruning(c)
	if err != nil {
		return nil, nil, err
	}
	place, err := placeOf(into, c.Bool("resume"), manifests)
	if err != nil {
		return nil, nil, err
	}
	run := config.DefaultRunDir
	if err := errors.Join(override(c, "run-dir", &run), ours("run directory", run)); err != nil {
		return nil, nil, err
	}
	mounts := filepath.Join(run, "mounts")
	if err := driver.SweepLooks(mounts); err != nil { // which keeps that from being pruned, and nothing from arriving
		zerolog.Ctx(c.Context).Warn().Err(err).Msg("could not unmount what a dead process had left mounted")
	}
	if c.Bool("verify") {
		place.Mounts = mounts
	}
	if err := rememberPlace(manifests, into); err != nil { // which whoever logs in here can do without
		zerolog.Ctx(c.Context).Warn().Err(err).Msg("could not note where the client's replicas lie")
	}
	if keep == nil {
		return place, nil, nil
	}
	return place, &engine.Replicas{Place: place, Keep: *keep, Floor: floor, Zone: time.Local, Now: time.Now, RunDir: run}, nil
}

// clientsOrigin is what the client may fetch of this host; nil: nothing.
func clientsOrigin(c *cli.Context, client string, manifests snapset.Store) (*replicate.Origin, error) {
	if !c.IsSet("send") {
		return nil, nil
	}
	o := &replicate.Origin{Store: manifests, Apps: c.StringSlice("send"), Client: client}
	for _, app := range o.Apps {
		if !driver.ValidApp(app) {
			return nil, usagef("--send %q is no name of an app", app)
		}
	}
	for _, d := range drivers() {
		if src, ok := d.(replicate.OriginSource); ok {
			o.Sources = append(o.Sources, src)
		}
	}
	return o, nil
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
