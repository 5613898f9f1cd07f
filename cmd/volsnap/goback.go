package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
)

// failed says that the command failed, and goes back or says how to: then that is the last line.
func (g *guarding) failed(ctx context.Context, failed error, status statusError) error {
	g.say("volsnap: %s", printable(failed))
	switch {
	case g.out.Exit == -1 && g.c.Bool("rollback"):
		g.say("volsnap: the command was not started, so there is nothing to go back from")
	case status == exitInterrupted && g.c.Bool("rollback"):
		g.say("volsnap: interrupted: not rolled back")
	case g.c.Bool("rollback"):
		if err := g.rollBack(ctx); err == nil {
			return g.end(status)
		}
	}
	g.say("volsnap: %s holds what the volumes of %s held before, and is pinned until %s", g.set.ID, g.app.Name, g.set.Guard.Expires.Format(time.RFC3339))
	g.sayReplaced(context.WithoutCancel(ctx), "the data there was written by other programs than run now. Stop the containers, run the last line, and have them start with the images that they had:")
	g.out.GoBack = g.line()
	return g.end(status)
}

// end prints the document and, if there is one, the line that goes back: the last of all.
func (g *guarding) end(status statusError) error {
	if err := g.document(); err != nil {
		g.say("volsnap: %s", printable(err))
	}
	if g.out.GoBack != "" {
		g.say("%s", g.out.GoBack)
	}
	return status
}

// say writes a line to stderr.
func (g *guarding) say(format string, args ...any) {
	_, _ = fmt.Fprintf(g.p.stderr, format+"\n", args...) // stderr is gone: nobody to tell
}

// line is the command that goes back, for a shell.
func (g *guarding) line() string {
	argv := []string{"volsnap", "restore", string(g.set.ID), "--in-place", "--yes"}
	for _, option := range []string{"config", "state-dir", "run-dir"} {
		if !g.c.IsSet(option) {
			continue
		}
		path := g.c.String(option)
		if abs, err := filepath.Abs(path); err == nil {
			path = abs // it may be run elsewhere
		}
		argv = append(argv, "--"+option, path)
	}
	return shellLine(argv)
}

// rollBack puts the set back in place, and reports. The error has been said.
func (g *guarding) rollBack(ctx context.Context) error {
	g.say("volsnap: going back to %s", g.set.ID)
	var r report.Restore
	err := g.p.withProgress(g.c, g.h, func(ctx context.Context) (err error) {
		r, err = g.h.engine.RestoreInPlace(ctx, g.app, g.set.ID, engine.RestoreOptions{})
		return err
	})
	if err != nil {
		g.say("volsnap: %s", printable(err))
		if h := hint(err); h != "" {
			g.say("hint: %s", h)
		}
		g.out.Error += "; " + printable(err)
		return err
	}
	g.out.RolledBack, g.out.Undo = true, r.Undo
	g.say("volsnap: the upgrade failed, and the data of %s is back as it was in %s", g.app.Name, g.set.ID)
	for _, kept := range r.Kept {
		g.say("volsnap: left: %s", text(kept))
	}
	g.say("volsnap: what the command had made of it is kept: volsnap restore %s --in-place", r.Undo)
	g.sayReplaced(context.WithoutCancel(ctx), "that data was written by other programs than run on it now; bring the images back:")
	return nil
}

// sayReplaced names the containers whose programs are others now, and how to have the old ones again.
func (g *guarding) sayReplaced(ctx context.Context, why string) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	replaced, err := g.h.engine.ReplacedSince(ctx, g.set.Guard)
	if err != nil {
		g.say("volsnap: could not find out which containers run other images than before (`volsnap show %s` lists those): %s", g.set.ID, printable(err))
		return
	}
	if len(replaced) == 0 {
		return
	}
	g.say("volsnap: %s", why)
	for _, r := range replaced {
		now := "is there no more"
		if r.Now != "" {
			now = fmt.Sprintf("runs %s (%s) now", r.As, shortID(r.Now))
		}
		g.say("  %s", text(fmt.Sprintf("%s ran %s (%s), and %s", r.Container, r.Image.Image, shortID(r.ID), now)))
		g.say("    %s", text(bringBack(r)))
	}
}

// bringBack says how a container comes to its old image.
func bringBack(r engine.Replaced) string {
	name := r.Image.Image
	byTag := !strings.Contains(name, "@") && !strings.HasPrefix(name, "sha256:")
	switch {
	case r.Tagged:
		return name + " still is that image: name it again where the container is described, and make the container anew"
	case r.Local && byTag:
		return shellLine([]string{"docker", "tag", r.ID, name}) + ", and make the container anew"
	case r.Local:
		return "this host still has it: name " + r.ID + " where the container is described, and make the container anew"
	case len(r.Digests) > 0 && byTag:
		return shellLine([]string{"docker", "pull", r.Digests[0]}) + " && " + shellLine([]string{"docker", "tag", r.Digests[0], name}) + ", and make the container anew"
	case len(r.Digests) > 0:
		return shellLine([]string{"docker", "pull", r.Digests[0]}) + ", and make the container anew"
	}
	return "this host has that image no more, and it has no digest in a registry: build it again"
}

// shortID is an image's id as docker shows it.
func shortID(id string) string {
	hex := strings.TrimPrefix(id, "sha256:")
	return hex[:min(12, len(hex))]
}
