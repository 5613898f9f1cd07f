package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/report"
)

func (p *program) mountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "show a set, or a replica of it, as a read-only tree with an entry for each volume", ArgsUsage: "SET DIR",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "from", Usage: "the replica at this `TARGET` of this host; or on a backup server, at KIND:WHERE it lies, as with `serve --into`, once a kind"},
			&cli.StringFlag{Name: "client", Usage: "with KIND:WHERE, the `NAME` of the client whose replica it is, as with `serve`; LVM needs it"},
			jsonFlag,
		},
		Action: p.mount,
	}
}

func (p *program) mount(c *cli.Context) error {
	args, err := arguments(c, "SET", "DIR")
	if err != nil {
		return err
	}
	req := engine.MountRequest{}
	if req.Set, err = setID(args[0]); err != nil {
		return err
	}
	if req.Dir, err = dirArgument(args[1]); err != nil {
		return err
	}
	h, err := p.open(c, true)
	if err != nil {
		return err
	}
	if req.From, err = h.mountedFrom(c); err != nil {
		return err
	}
	for _, a := range h.config.Apps {
		req.Apps = append(req.Apps, h.engineApp(a))
	}
	var m report.Mounting
	err = p.withProgress(c, h, func(ctx context.Context) error {
		m, err = h.engine.Mount(ctx, req, openPlace)
		return err
	})
	switch {
	case errors.Is(err, engine.ErrUnfit):
		return usageError{err}
	case err != nil:
		return withHint(err, driver.ErrChanged, "`volsnap list` shows whether it is still there; if it is, mount it again")
	case c.Bool("json"):
		return p.printJSON(m)
	}
	return p.printMounting(m)
}

// dirArgument is an argument that names one, as an absolute path.
func dirArgument(arg string) (string, error) {
	if arg == "" || strings.ContainsRune(arg, 0) {
		return "", usagef("%q is no name of a directory", arg)
	}
	dir, err := filepath.Abs(arg)
	if err != nil {
		return "", usageError{err}
	}
	return dir, nil
}

// mountedFrom is the place that --from names; nil: none, the set is one of this host.
func (h *host) mountedFrom(c *cli.Context) (*engine.MountedPlace, error) {
	names := c.StringSlice("from")
	byWhere := slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, ":") })
	switch {
	case c.IsSet("client") && !byWhere:
		return nil, usagef("--client belongs to --from KIND:WHERE, which is missing")
	case len(names) == 0:
		return nil, nil
	case byWhere:
		return h.placeAt(names, c.String("client"))
	case len(names) > 1:
		return nil, usagef("--from takes one target, or several of KIND:WHERE")
	}
	t, err := h.targetNamed(names[0])
	if err != nil {
		return nil, err
	}
	if t.SSH != "" {
		return nil, usagef("the replicas of %q are on another host (%s): look into them there, by `volsnap mount SET --from KIND:WHERE DIR`, KIND:WHERE being what its `volsnap serve --into` has",
			t.Name, t.SSH)
	}
	place, err := placeOf(t.Into, false, h.links.manifests(t))
	return &engine.MountedPlace{PlaceName: nameOf(t.Into, h.links.manifests(t)), As: t.Name, Place: place}, err
}

// placeAt is the place of a client of this backup server.
func (h *host) placeAt(names []string, client string) (*engine.MountedPlace, error) {
	into, err := config.ParseIntos(names)
	if err != nil {
		return nil, usagef("--from %w", err)
	}
	if client != "" && !clientPattern.MatchString(client) {
		return nil, usagef("--client %q is no name of a client", client)
	}
	if client == "" && slices.ContainsFunc(into, func(i config.Into) bool { return i.Kind == lvm.Kind }) {
		return nil, usagef("--from lvm:… needs --client: a thin pool has the replicas of several clients")
	}
	manifests := filepath.Join(h.state, "replicas", client) // without a client none are found, and none are needed
	place, err := placeOf(into, false, manifests)
	return &engine.MountedPlace{PlaceName: nameOf(into, manifests), As: strings.Join(names, " "), Place: place}, err
}

func nameOf(into []config.Into, manifests string) engine.PlaceName {
	n := engine.PlaceName{Manifests: manifests}
	for _, i := range into {
		n.Into = append(n.Into, i.String())
	}
	return n
}

func openPlace(n engine.PlaceName) (*replicate.Place, error) {
	into, err := config.ParseIntos(n.Into)
	if err != nil {
		return nil, err
	}
	return placeOf(into, false, n.Manifests)
}

func (p *program) printMounting(m report.Mounting) error {
	var rows []table.Row
	for _, v := range m.Volumes {
		rows = append(rows, table.Row{v.Volume, v.Path})
	}
	return p.printTable(table.Row{"volume", "read-only at"}, rows)
}
