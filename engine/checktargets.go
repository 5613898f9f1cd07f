package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// checkTargets reaches each target of an app, and tries what a backup server has to refuse.
func (e *Engine) checkTargets(ctx context.Context, app App) []Problem {
	var found []Problem
	for _, t := range app.Targets {
		found = append(found, checkTarget(ctx, app, t)...)
	}
	return append(found, e.checkBases(ctx, app)...)
}

func checkTarget(ctx context.Context, app App, t Target) []Problem {
	about := app.Name + " at " + t.Name
	link, err := t.Open(ctx)
	if err == nil {
		_, err = link.List(ctx, app.Name, false)
	}
	if err != nil {
		return []Problem{problem(driver.Error, about, "cannot be reached: "+err.Error(),
			"see that the host, the key and `volsnap serve` there work; or that the place is mounted")}
	}
	asks, remote := link.(interface {
		MayDestroy(context.Context) (bool, error)
	})
	if !remote {
		return nil
	}
	may, err := asks.MayDestroy(ctx)
	switch {
	case err != nil:
		return []Problem{problem(driver.Warning, about, "could not find out whether it would destroy replicas: "+err.Error(), "")}
	case may:
		return []Problem{problem(driver.Warning, about, "would destroy replicas if this host asked it to",
			"let the key's forced command be `volsnap serve --client … --into …`, and no more")}
	}
	return nil
}

// checkFetched is Check of an app whose sets are taken on another host.
func (e *Engine) checkFetched(ctx context.Context, app App) []Problem {
	var found []Problem
	from, err := e.from(ctx, app)
	if err != nil {
		found = append(found, problem(driver.Error, app.Name, err.Error(), "see that the host, the key and `volsnap serve --send "+app.Name+"` there work"))
	}
	for _, t := range app.Targets {
		found = append(found, checkTarget(ctx, app, t)...)
	}
	found = append(found, checkKeep(app)...)
	if len(found) == 0 {
		found = append(found, problem(Good, app.Name, fmt.Sprintf("%d sets can be fetched", len(from.sets)), ""))
	}
	return found
}

// checkBases finds sets that are kept for targets that the app does not have.
func (e *Engine) checkBases(ctx context.Context, app App) []Problem {
	sets, err := e.Sets(ctx, app.Name)
	if err != nil {
		return nil // which has been said
	}
	var found []Problem
	for _, s := range sets {
		for _, base := range s.Manifest.Bases {
			if strings.Contains(base, "/") {
				continue // of a backup server that fetches: it says itself what it needs
			}
			if !slices.ContainsFunc(app.Targets, func(t Target) bool { return t.Name == base }) {
				found = append(found, problem(driver.Warning, string(s.ID), fmt.Sprintf("is kept as the base of %q, which is no target of the app any more", base),
					fmt.Sprintf("if it is gone for good: `volsnap unpin %s %q`", s.ID, driver.Base(base))))
			}
		}
	}
	return found
}
