package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/driver/lvm"
	"github.com/volsnap/volsnap/driver/zfs"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/snapset"
)

// setUp puts the logger into the context of every command.
func (p *program) setUp(c *cli.Context) error {
	level, err := zerolog.ParseLevel(c.String("log-level"))
	if err != nil || !slices.Contains([]zerolog.Level{zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel}, level) {
		return usagef("--log-level %q: want debug, info, warn or error", c.String("log-level"))
	}
	console := false
	switch c.String("log-format") {
	case "auto":
		console = isTerminal(p.stderr)
	case "console":
		console = true
	case "json":
	default:
		return usagef("--log-format %q: want auto, console or json", c.String("log-format"))
	}
	out := io.Writer(logWriter{p})
	if console {
		out = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly, NoColor: !isTerminal(p.stderr)}
	}
	log := zerolog.New(out).Level(level).With().Timestamp().Logger()
	c.Context = log.WithContext(c.Context)
	return nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// host is what a command works with.
type host struct {
	config *config.Config
	engine *engine.Engine
	docker *docker.Client
	links  *links
	state  string
	run    string
}

// open reads the configuration and wires the engine. The configuration may be missing only for commands that need none
// (optional), and only when it was not asked for by name.
func (p *program) open(c *cli.Context, optional bool) (*host, error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		missing := errors.Is(err, fs.ErrNotExist) && !c.IsSet("config")
		if !optional || !missing {
			return nil, usageError{err}
		}
		cfg = &config.Config{StateDir: config.DefaultStateDir, RunDir: config.DefaultRunDir}
	}
	h := &host{config: cfg, state: cfg.StateDir, run: cfg.RunDir}
	if err := override(c, "state-dir", &h.state); err != nil {
		return nil, err
	}
	if err := override(c, "run-dir", &h.run); err != nil {
		return nil, err
	}
	if err := h.wire(c); err != nil {
		return nil, err
	}
	return h, nil
}

func override(c *cli.Context, name string, dir *string) error {
	if !c.IsSet(name) {
		return nil
	}
	value := c.String(name)
	if !filepath.IsAbs(value) {
		return usagef("--%s %q: want an absolute path", name, value)
	}
	*dir = filepath.Clean(value)
	return nil
}

// ours refuses a directory in which others than root can write: a freeze journal names commands, and whoever can put one
// there has them run.
func ours(what, dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usagef("%s: %w", what, err)
	}
	if !info.IsDir() {
		return usagef("%s: %q is not a directory", what, dir)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return usagef("%s: others than root can write in %q: make it root's alone (chown root, chmod go-w), or name another one", what, dir)
	}
	return nil
}

func (h *host) wire(c *cli.Context) error {
	if err := errors.Join(
		ours("state directory", h.state), ours("run directory", h.run),
		ours("state directory", filepath.Join(h.state, "sets")), ours("state directory", filepath.Join(h.state, "last-run")),
	); err != nil {
		return err
	}
	d, err := docker.New("")
	if err != nil {
		return usageError{err}
	}
	h.docker, h.links = d, &links{state: h.state, run: h.run}
	h.engine = &engine.Engine{
		Drivers: drivers(),
		Docker:  d,
		Store:   snapset.Store{Dir: h.state},
		RunDir:  h.run,
		DeadMan: func(journal string) []string {
			return []string{"/proc/self/exe", "--log-format", c.String("log-format"), "dead-man", "--journal", journal}
		},
		Zone: time.Local,
		Now:  time.Now,
	}
	return nil
}

// drivers are the storages that this program knows, in the order in which they are asked.
func drivers() []driver.Driver { return []driver.Driver{btrfs.New(), zfs.New(), lvm.New()} }

// apps are the configured apps that the arguments name, all when they name none.
func (h *host) apps(c *cli.Context) ([]engine.App, error) {
	var apps []engine.App
	var known []string
	for _, a := range h.config.Apps {
		known = append(known, a.Name)
		if c.NArg() == 0 {
			apps = append(apps, h.engineApp(a))
		}
	}
	if len(known) == 0 {
		return nil, usagef("%s configures no app", c.String("config"))
	}
	for i, name := range c.Args().Slice() {
		at := slices.Index(known, name)
		if at < 0 {
			return nil, usagef("%q is no app of %s, which has: %s", name, c.String("config"), strings.Join(known, ", "))
		}
		if slices.Contains(c.Args().Slice()[:i], name) {
			return nil, usagef("app %q is named twice", name)
		}
		apps = append(apps, h.engineApp(h.config.Apps[at]))
	}
	return apps, nil
}

// ownApps are those apps whose sets are taken on this host.
func (h *host) ownApps(c *cli.Context) ([]engine.App, error) {
	apps, err := h.apps(c)
	if err != nil {
		return nil, err
	}
	var own []engine.App
	for _, a := range apps {
		switch {
		case a.Origin == nil:
			own = append(own, a)
		case c.NArg() > 0:
			return nil, usagef("the sets of %q are taken on another host (its `source`); here they can be fetched by `volsnap run` or `volsnap replicate`", a.Name)
		}
	}
	if len(own) == 0 {
		return nil, usagef("%s has no app whose sets are taken on this host", c.String("config"))
	}
	return own, nil
}

// app is one configured app, by name.
func (h *host) app(name string) (engine.App, bool) {
	for _, a := range h.config.Apps {
		if a.Name == name {
			return h.engineApp(a), true
		}
	}
	return engine.App{}, false
}

func (h *host) engineApp(a config.App) engine.App {
	app := engine.App{Name: a.Name, Project: a.Project, Keep: a.Keep, Freeze: engine.Freeze{Limit: a.Freeze.Limit}}
	if a.Source != nil {
		app.Origin = h.links.origin(*a.Source)
	}
	for _, v := range a.Volumes {
		app.Volumes = append(app.Volumes, inventory.VolumeSpec{Volume: v.Volume, Path: v.Path, NotOlderThan: v.NotOlderThan})
	}
	for _, s := range a.Freeze.Steps {
		var step engine.Step
		switch s := s.(type) {
		case config.Postgres:
			pg := engine.PostgresStep(s)
			step.Postgres = &pg
		case config.Exec:
			x := engine.ExecStep(s)
			step.Exec = &x
		case config.Pause:
			step.Pause = &engine.PauseStep{Containers: s.Containers}
		}
		app.Freeze.Steps = append(app.Freeze.Steps, step)
	}
	for _, r := range a.Replicate {
		for _, t := range h.config.Targets {
			if t.Name == r.Target {
				to := h.links.target(t)
				to.SkipIntermediate = r.SkipIntermediate
				if t.SSH == "" {
					to.Here = func() (engine.Replicas, error) { return h.replicasIn(t, a.Source == nil) }
				}
				app.Targets = append(app.Targets, to)
			}
		}
	}
	return app
}

// eachApp calls fn for one app after the other. One that fails does not keep the others from their turn.
func eachApp(ctx context.Context, apps []engine.App, fn func(context.Context, engine.App) error) error {
	var errs []error
	locked := 0
	for _, a := range apps {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		log := zerolog.Ctx(ctx).With().Str("app", a.Name).Logger()
		if err := fn(log.WithContext(ctx), a); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.Name, err))
			if errors.Is(err, state.ErrLocked) {
				locked++
			}
		}
	}
	err := errors.Join(errs...)
	switch {
	case len(errs) > 0 && len(errs) < len(apps):
		return partlyError{err}
	case locked > 0 && locked < len(errs):
		return failedError{err}
	}
	return err
}

// setID reads an argument that names a set.
func setID(arg string) (driver.SetID, error) {
	id, err := driver.ParseSetID(arg)
	if err != nil {
		return "", usageError{err}
	}
	return id, nil
}
