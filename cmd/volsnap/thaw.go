package main

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/quiesce"
)

func (p *program) thawCommand() *cli.Command {
	return &cli.Command{
		Name: "thaw", Usage: "let go whatever a dead run left paused",
		Description: "Thaws what the freeze journals name, and nothing else. What a live run has paused is left to that run.",
		Flags:       []cli.Flag{jsonFlag},
		Action:      p.thaw,
	}
}

type thawJSON struct {
	App    string   `json:"app"`
	Thawed []string `json:"thawed"`
	Error  string   `json:"error"`
}

// thaw has to work when the configuration does not: then it looks at --run-dir, or the default one, and says so.
func (p *program) thaw(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	h, broken := p.open(c, true)
	if broken != nil {
		h = &host{state: config.DefaultStateDir, run: config.DefaultRunDir}
		if err := errors.Join(override(c, "state-dir", &h.state), override(c, "run-dir", &h.run), h.wire(c)); err != nil {
			return err
		}
		broken = fmt.Errorf("thawed only what is named in %s: %w", h.run, broken)
	}
	apps, err := quiesce.Journals(h.run)
	if err != nil {
		return err
	}
	out := []thawJSON{}
	errs := []error{broken, engine.Release(c.Context, h.engine.Drivers)}
	for _, app := range apps {
		if !driver.ValidApp(app) {
			zerolog.Ctx(c.Context).Warn().Str("name", app).Msg("left a journal alone that is not volsnap's: it is named for no app")
			continue
		}
		thawed, err := h.engine.Thaw(c.Context, app)
		one := thawJSON{App: app, Thawed: append([]string{}, thawed...)}
		switch {
		case errors.Is(err, state.ErrLive):
			zerolog.Ctx(c.Context).Info().Str("app", app).Msg("left to its own run, which is alive")
			one.Error = printable(err)
		case err != nil:
			one.Error = printable(err)
			errs = append(errs, fmt.Errorf("thaw %s: %w", app, err))
		}
		out = append(out, one)
	}
	if c.Bool("json") {
		errs = append(errs, p.printJSON(out))
		return errors.Join(errs...)
	}
	for _, one := range out {
		for _, name := range one.Thawed {
			errs = append(errs, p.printf("%s: thawed %s\n", one.App, text(name)))
		}
	}
	return errors.Join(errs...)
}
