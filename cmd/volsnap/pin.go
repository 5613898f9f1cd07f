package main

import (
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
)

func (p *program) pinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "keep a set from being pruned or deleted", ArgsUsage: "SET REASON",
		Action: func(c *cli.Context) error {
			h, id, reason, err := p.pinning(c)
			if err != nil {
				return err
			}
			err = h.engine.Pin(c.Context, id, reason)
			return withHint(err, engine.ErrRefused, "nothing can be got back from a set that is not complete; `volsnap delete` removes it")
		},
	}
}

func (p *program) unpinCommand() *cli.Command {
	return &cli.Command{
		Name: "unpin", Usage: "take back a reason for which a set was pinned", ArgsUsage: "SET REASON",
		Action: func(c *cli.Context) error {
			h, id, reason, err := p.pinning(c)
			if err != nil {
				return err
			}
			err = h.engine.Unpin(c.Context, id, reason)
			return withHint(err, engine.ErrRefused, "the reason has to be spelled as it was given; `volsnap show SET` prints it")
		},
	}
}

func (p *program) pinning(c *cli.Context) (h *host, id driver.SetID, reason string, err error) {
	args, err := arguments(c, "SET", "REASON")
	if err != nil {
		return nil, "", "", err
	}
	if id, err = setID(args[0]); err != nil {
		return nil, "", "", err
	}
	if err := driver.CheckPin(args[1]); err != nil {
		return nil, "", "", usagef("reason %s: want 1 to 200 bytes of UTF-8 without control characters", short(args[1]))
	}
	if c.Command.Name == "pin" {
		if err := notOwn(args[1]); err != nil {
			return nil, "", "", err
		}
	}
	if h, err = p.open(c, true); err != nil {
		return nil, "", "", err
	}
	if target, isBase := driver.BaseOf(args[1]); isBase {
		err = h.freeBase(id, target)
		return h, id, args[1], err
	}
	return h, id, args[1], nil
}

// notOwn refuses reasons that mean something to volsnap: by one a set would stay for a target, or go at a time.
func notOwn(reason string) error {
	if driver.OwnPin(reason) {
		return usagef("reason %s: such a reason is given by volsnap itself; choose other words", short(reason))
	}
	return nil
}

// freeBase refuses to let go what volsnap itself keeps a set for, unless that is a target that the app does not have any more.
func (h *host) freeBase(id driver.SetID, target string) error {
	app, _ := h.app(id.App())
	if hasTarget(app, target) {
		return usagef("%s is the base of %q: the next increment builds on it. Take the target from the configuration first", id, target)
	}
	return nil
}

func (p *program) deleteCommand() *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "destroy one set, unless it is pinned or the newest complete one; or its replica at a target of this host", ArgsUsage: "SET",
		Flags: []cli.Flag{&cli.StringFlag{Name: "target", Usage: "its replica at this `TARGET`, which has to be one of this host"}},
		Action: func(c *cli.Context) error {
			id, err := setArgument(c)
			if err != nil {
				return err
			}
			h, err := p.open(c, !c.IsSet("target"))
			if err != nil {
				return err
			}
			if c.IsSet("target") {
				return h.deleteReplica(c, id)
			}
			err = h.engine.Delete(c.Context, id)
			return withHint(err, engine.ErrRefused, "the newest complete set always stays; once there is a newer one, this one can be deleted. What a target builds on is let go when that has a newer one")
		},
	}
}

func (h *host) deleteReplica(c *cli.Context, id driver.SetID) error {
	t, err := h.targetOfThisHost(c.String("target"))
	if err != nil {
		return err
	}
	app, ok := h.app(id.App())
	if !ok || !hasTarget(app, t.Name) {
		return usagef("no app %q is configured that replicates to %q", id.App(), t.Name)
	}
	defer func() { _ = h.links.Close() }() // whatever failed has been said
	there, err := h.replicasIn(t, app.Origin == nil)
	if err != nil {
		return err
	}
	return withHint(h.engine.DeleteReplica(c.Context, app, there, id), engine.ErrRefused, "once a newer set has arrived there, this one can be deleted")
}
