package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/retention"
	"github.com/volsnap/volsnap/snapset"
)

const (
	usualRhythm = 24 * time.Hour // of sets, when there are too few to tell
	recentSets  = 11             // from which the rhythm is taken
)

func (p *program) whyCommand() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "say which rules keep a set and when it will go", ArgsUsage: "SET",
		Flags: []cli.Flag{jsonFlag}, Action: p.why,
	}
}

type whyJSON struct {
	Set     string     `json:"set"`
	Keep    bool       `json:"keep"`
	Reasons []string   `json:"reasons"`
	EveryMS float64    `json:"every_ms"` // the rhythm that goes is reckoned with
	Goes    *time.Time `json:"goes"`     // null: not foreseeable
}

func (p *program) why(c *cli.Context) error {
	args, err := arguments(c, "SET")
	if err != nil {
		return err
	}
	id, err := setID(args[0])
	if err != nil {
		return err
	}
	h, err := p.open(c, false)
	if err != nil {
		return err
	}
	app, ok := h.app(id.App())
	if !ok {
		return usagef("%q is no app of %s", id.App(), c.String("config"))
	}
	s, err := h.engine.Set(c.Context, id)
	if err != nil {
		return err
	}
	if !s.Complete {
		return p.printWhy(c, whyJSON{Set: string(id), Reasons: []string{notCounted(s)}})
	}
	plan, err := h.engine.PlanPrune(c.Context, app, true)
	if err != nil {
		return err
	}
	var items []retention.Item
	out := whyJSON{Set: string(id), Reasons: []string{}}
	var guarded time.Time // until when
	for _, v := range plan.Verdicts {
		lasting, until := timed(v.Set.Manifest.Pins)
		items = append(items, retention.Item{ID: string(v.Set.ID), Time: v.Set.ID.Time(), Pins: lasting})
		if v.Set.ID == id {
			guarded = until
			out.Keep, out.Reasons = v.Keep, append(out.Reasons, v.Reasons...)
		}
	}
	every := rhythm(items)
	out.EveryMS = float64(every.Milliseconds())
	if at, ok := app.Keep.Expiry(items, string(id), every, time.Local); ok && out.Keep {
		at = later(at, guarded).UTC()
		out.Goes = &at
	}
	return p.printWhy(c, out)
}

// timed parts pins that keep a set for ever from those that do so until a time.
func timed(pins []string) (lasting []string, until time.Time) {
	for _, pin := range pins {
		at, is := driver.GuardUntil(pin)
		if !is {
			lasting = append(lasting, pin)
		}
		until = later(until, at)
	}
	return lasting, until
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func notCounted(s snapset.Set) string {
	if s.LeftOver {
		return "it is not complete and does not count; the next run removes it"
	}
	return "it is not complete and does not count; nothing removes it but `volsnap delete`"
}

// rhythm is the median distance of the newest sets. Items are newest first.
func rhythm(items []retention.Item) time.Duration {
	var gaps []time.Duration
	for i := 1; i < min(len(items), recentSets); i++ {
		gaps = append(gaps, items[i-1].Time.Sub(items[i].Time))
	}
	if len(gaps) == 0 {
		return usualRhythm
	}
	slices.Sort(gaps)
	return max(gaps[len(gaps)/2], time.Second)
}

func (p *program) printWhy(c *cli.Context, w whyJSON) error {
	if c.Bool("json") {
		return p.printJSON(w)
	}
	verdict := "goes with the next prune"
	if w.Keep {
		verdict = "is kept: " + strings.Join(w.Reasons, ", ")
	} else if len(w.Reasons) > 0 {
		verdict = w.Reasons[0]
	}
	if err := p.printf("%s %s\n", w.Set, text(verdict)); err != nil || !w.Keep {
		return err
	}
	every := age(time.Duration(w.EveryMS) * time.Millisecond)
	if w.Goes == nil {
		return p.printf("it stays for as long as can be foreseen, if sets go on every %s\n", every)
	}
	return p.printf("%s\n", fmt.Sprintf("it goes about %s, if sets go on every %s", w.Goes.Local().Format(time.DateTime), every))
}
