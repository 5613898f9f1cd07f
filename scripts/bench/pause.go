package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

const (
	pauseRuns    = 60
	pauseClients = 4 // of pgbench
)

// way is one way to take three snapshots of six containers' volumes.
type way struct {
	name string
	take func(ctx context.Context, to string) (taking, error)
	more bool // one that a slow machine does without
}

// taking is one of its runs: an instant in which all was paused, and how long it was from the first pause to the end of
// the last unpause.
type taking struct {
	at     time.Time
	window time.Duration
	after  time.Time // an instant in which nothing was paused any more
}

// pause measures the pause, idle and under load; on a slow machine under load alone.
func (b *bench) pause(ctx context.Context) (err error) {
	n, err := b.node(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	states := []int{0, pauseClients}
	if testhost.Slow() > 1 {
		states = states[1:]
	}
	for _, clients := range states {
		if clients > 0 {
			if err := n.ccn.Load(ctx, clients); err != nil {
				return err
			}
		}
		if err := b.pauseRounds(ctx, n, clients > 0); err != nil {
			return err
		}
	}
	return n.ccn.Stop()
}

func (b *bench) pauseRounds(ctx context.Context, n *node, loaded bool) error {
	ways, err := b.ways(n)
	if err != nil {
		return err
	}
	state := "idle"
	if loaded {
		state = "loaded"
	}
	took := make([][]taking, len(ways))
	failed := make([]int, len(ways))
	for i := range b.times(pauseRuns) {
		b.out.progress("pause, %s: round %d", state, i+1)
		for k := range ways {
			at := (k + i) % len(ways) // none always follows the same other
			w := ways[at]
			to := filepath.Join(n.pool.Top, "bench", state, w.name, strconv.Itoa(i))
			if err := os.MkdirAll(to, 0o700); err != nil {
				return err
			}
			one, err := w.take(ctx, to)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // "unable to freeze", say
				b.out.progress("%s did not succeed: %v", w.name, err)
				failed[at]++
				if err := n.unpause(); err != nil {
					return err
				}
				continue
			}
			one.after = time.Now().Add(pauseRest() / 2)
			took[at] = append(took[at], one)
			rest(ctx)
			if w.name == "volsnap" {
				continue
			}
			if err := b.on.discard(ctx, n.datasets, to); err != nil {
				return err
			}
		}
	}
	return b.pauseTable(n, ways, took, failed, loaded)
}

// pauseRest is longer where meters sleep longer.
func pauseRest() time.Duration { return 150 * time.Millisecond * min(4, testhost.Slow()) }

// rest lets the containers run for a moment, so that a meter's gaps don't touch.
func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pauseRest()):
	}
}

func (b *bench) ways(n *node) ([]way, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var ids, names, freezers []string
	for _, c := range n.writers {
		file, err := freezerFile(c)
		if err != nil {
			return nil, err
		}
		ids, names, freezers = append(ids, c.ID), append(names, c.Name), append(freezers, file)
	}
	env := append(n.ccn.Env(), "CONTAINERS="+strings.Join(names, " "), "SOURCES="+strings.Join(n.datasets, " "), "VOLUMES="+strings.Join(n.volumes, " "))
	script := func(text string) func(context.Context, string) (taking, error) {
		return func(ctx context.Context, to string) (taking, error) {
			w, err := runScript(ctx, b.on, text, append(env, "TO="+to, "TAG="+tag(to)))
			return taking{at: w.Taken, window: w.took()}, err
		}
	}
	bare := func(more ...string) func(context.Context, string) (taking, error) {
		return func(ctx context.Context, to string) (taking, error) {
			argv := append([]string{
				self, floorCommand, "-storage", b.kind, "-host", n.engine.Host, "-containers", strings.Join(ids, ","),
				"-sources", strings.Join(n.datasets, ","), "-volumes", strings.Join(n.volumes, ","), "-to", to,
			}, more...)
			out, err := command.Run(ctx, command.Cmd{Argv: argv})
			if err != nil {
				return taking{}, err
			}
			var w window
			err = json.Unmarshal(out.Stdout, &w)
			return taking{at: w.Taken, window: w.took()}, err
		}
	}
	all := []way{
		{name: "volsnap", take: func(ctx context.Context, _ string) (taking, error) { return b.volsnapTaking(ctx, n) }},
		{name: "script", take: script(scriptPlain)},
		{name: "script-parallel", take: script(scriptParallel), more: true},
		{name: "script-one", take: script(scriptOne)},
		{name: "floor", take: bare()},
		{name: "floor-last", take: bare("-last"), more: true},
		{name: "freezer", take: bare("-freezer", strings.Join(freezers, ",")), more: true},
	}
	return slices.DeleteFunc(all, func(w way) bool { return w.more && testhost.Slow() > 1 }), nil
}

func (b *bench) volsnapTaking(ctx context.Context, n *node) (taking, error) {
	var set fixture.Set
	if err := n.volsnap(ctx, b, &set, "snapshot", fixture.App, "--json"); err != nil {
		return taking{}, err
	}
	if !set.Complete || set.Consistency != b.on.facts().class || len(set.Containers) != len(n.writers) || len(set.Members) != len(n.volumes) {
		return taking{}, fmt.Errorf("set %s: %s, complete %t, %d containers, %d volumes", set.ID, set.Consistency, set.Complete, len(set.Containers), len(set.Members))
	}
	last := set.Members[0].Taken
	for _, m := range set.Members {
		if m.Taken.After(last) {
			last = m.Taken
		}
	}
	return taking{at: last, window: time.Duration(set.PauseMS * float64(time.Millisecond))}, nil
}

// freezerFile is where the kernel's freezer of a container is, under control groups v1 or v2.
func freezerFile(c docker.Container) (string, error) {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.PID))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, file := range []string{
			filepath.Join("/sys/fs/cgroup", part[1], part[2], "freezer.state"), filepath.Join("/sys/fs/cgroup", part[2], "cgroup.freeze"),
		} {
			if _, err := os.Stat(file); err == nil {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("container %s has no freezer", c.Name)
}

var wayTitles = map[string]string{
	"volsnap":         "volsnap",
	"script":          "script: `docker pause` one after another",
	"script-parallel": "script: `docker pause` each with `&`",
	"script-one":      "script: `sync -f`, one `docker pause` of all",
	"floor":           "the floor: a bare program, by the API",
	"floor-last":      "the same, but the database after the others",
	"freezer":         "a bare program, by the kernel's freezer",
}

// pauseTable prints how long the slowest container was held by each way, and how long the whole took.
func (b *bench) pauseTable(n *node, ways []way, took [][]taking, failed []int, loaded bool) error {
	gaps, err := n.gaps()
	if err != nil {
		return err
	}
	felt, windows := make([]sample, len(ways)), make([]sample, len(ways))
	noise := sample{}
	for i := range ways {
		for _, one := range took[i] {
			felt[i] = append(felt[i], longest(gaps, one.at, len(n.services)))
			windows[i] = append(windows[i], one.window)
			noise = append(noise, longest(gaps, one.after, 0))
		}
	}
	title := "Pause, idle"
	if loaded {
		title = fmt.Sprintf("Pause, under load (pgbench with %d clients, and the writers)", pauseClients)
	}
	for _, t := range []struct {
		what string
		of   []sample
	}{{", as felt by the slowest of six containers", felt}, {", from the first pause to the last unpause", windows}} {
		var rows [][]string
		for i, w := range ways {
			row := append([]string{wayTitles[w.name]}, t.of[i].cells()...)
			rows = append(rows, append(row, ratio(t.of[0], t.of[i]), strconv.Itoa(failed[i])))
		}
		b.out.table(title+t.what, append(append([]string{""}, statistics...), "volsnap is × this", "failed"), rows)
	}
	b.out.text("\nWith nothing paused, at one instant after each run, the longest gap of over %d ms in any container: median %s, p99 %s.", 5*testhost.Slow(), milliseconds(noise.median()), milliseconds(noise.at(0.99)))
	return nil
}

// longest is the longest gap that includes the instant. With fewer meters than want it is 0: one did not notice.
func longest(gaps map[string][]fixture.Gap, at time.Time, want int) time.Duration {
	var most time.Duration
	have := 0
	for _, of := range gaps {
		for _, g := range of {
			if !at.Before(g.Begin) && at.Before(g.Begin.Add(g.Length)) {
				most, have = max(most, g.Length), have+1
			}
		}
	}
	if have < want {
		return 0
	}
	return most
}
