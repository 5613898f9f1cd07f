package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
)

// checkTargets reaches each target of an app, and tries what a backup server has to refuse.
func (e *Engine) checkTargets(ctx context.Context, app App) []Problem {
	var found []Problem
	sets, err := e.Sets(ctx, app.Name)
	if err != nil {
		sets = nil // which has been said
	}
	for _, t := range app.Targets {
		found = append(found, checkTarget(ctx, app, t, sets)...)
	}
	return append(found, checkBases(app, sets)...)
}

func checkTarget(ctx context.Context, app App, t Target, sets []snapset.Set) (found []Problem) {
	about := app.Name + " at " + t.Name
	var l replicate.Listing
	link, err := t.Open(ctx)
	if err == nil {
		l, err = link.List(ctx, app.Name, false)
	}
	if err != nil {
		return []Problem{problem(driver.Error, about, "cannot be reached: "+err.Error(),
			"see that the host, the key and `volsnap serve` there work; or that the place is mounted")}
	}
	found = checkReplicas(about, sets, l)
	asks, remote := link.(interface {
		MayDestroy(context.Context) (bool, error)
	})
	if !remote {
		return found
	}
	may, err := asks.MayDestroy(ctx)
	switch {
	case err != nil:
		found = append(found, problem(driver.Warning, about, "could not find out whether it would destroy replicas: "+err.Error(), ""))
	case may:
		found = append(found, problem(driver.Warning, about, "would destroy replicas if this host asked it to",
			"let the key's forced command be `volsnap serve --client … --into …`, and no more"))
	}
	return found
}

// checkReplicas finds in what a target has that nothing more can be sent to it.
func checkReplicas(about string, sets []snapset.Set, l replicate.Listing) (found []Problem) {
	committed := slices.ContainsFunc(l.Snapshots, func(s driver.Snapshot) bool { return s.Sealed })
	mine := slices.ContainsFunc(sets, func(s snapset.Set) bool { return s.Complete })
	if committed && mine && replicate.NewestCommon(sets, l) == "" {
		found = append(found, problem(driver.Error, about, "has sets of this app, and none in common with this host: it has diverged",
			"move its replicas away there, or name another place; then all is sent anew"))
	}
	here := map[string]bool{}
	for _, s := range sets {
		for _, m := range s.Snapshots {
			here[m.GUID] = true
		}
	}
	for _, s := range l.Snapshots {
		if s.Fault == "" {
			continue
		}
		level := driver.Warning
		if here[s.GUID] { // it would be sent again, and cannot
			level = driver.Error
		}
		found = append(found, problem(level, about, "its replica "+s.Name+" "+s.Fault, "look at it there, and move it away or remove it"))
	}
	return found
}

// checkFetched is Check of an app whose sets are taken on another host.
func (e *Engine) checkFetched(ctx context.Context, app App) []Problem {
	var found []Problem
	from, err := e.from(ctx, app)
	if err != nil {
		found = append(found, problem(driver.Error, app.Name, err.Error(), "see that the host, the key and `volsnap serve --send "+app.Name+"` there work"))
	}
	for _, t := range app.Targets {
		found = append(found, checkTarget(ctx, app, t, from.sets)...)
	}
	found = append(found, checkKeep(app)...)
	if len(found) == 0 {
		found = append(found, problem(Good, app.Name, fmt.Sprintf("%d sets can be fetched", len(from.sets)), ""))
	}
	return found
}

// checkBases finds sets that are kept for targets that the app does not have.
func checkBases(app App, sets []snapset.Set) []Problem {
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
