package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/testhost"
)

// floorCommand makes this program the floor: a bare one that does nothing but pause, snapshot and unpause. No journal, no
// dead-man, no order among the containers, nothing checked.
const floorCommand = "floor"

// window is when it happened.
type window struct {
	Begin  time.Time `json:"begin"`  // before the first pause
	Frozen time.Time `json:"frozen"` // all are paused
	Taken  time.Time `json:"taken"`  // all snapshots are made
	End    time.Time `json:"end"`    // all run again
}

func (w window) took() time.Duration { return w.End.Sub(w.Begin) }

// floor is the command line: lists are separated by commas.
type floor struct {
	host, to            string
	on                  storage
	containers, sources []string
	volumes             []string // where the sources are seen
	freezer             []string // files of the kernel's freezer, instead of the engine's pause
	last                bool     // the last container is paused after the others, as volsnap does with a database
}

func floorMain(args []string) error {
	var f floor
	var containers, sources, volumes, freezer, kind string
	flags := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	flags.StringVar(&f.host, "host", "", "socket of the Docker engine")
	flags.StringVar(&containers, "containers", "", "ids")
	flags.StringVar(&kind, "storage", testhost.PartBtrfs, "of the datasets")
	flags.StringVar(&sources, "sources", "", "datasets")
	flags.StringVar(&volumes, "volumes", "", "where they are seen")
	flags.StringVar(&freezer, "freezer", "", "freezer.state or cgroup.freeze of each container")
	flags.BoolVar(&f.last, "last", false, "pause the last container after the others")
	flags.StringVar(&f.to, "to", "", "existing directory for the snapshots, or for their names")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	f.containers, f.sources, f.volumes = strings.Split(containers, ","), strings.Split(sources, ","), strings.Split(volumes, ",")
	if freezer != "" {
		f.freezer = strings.Split(freezer, ",")
	}
	if f.on = storages[kind]; f.on == nil {
		return usageError{fmt.Errorf("there is no storage %q", kind)}
	}
	w, err := f.run(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(w)
}

// run has everything ready before it begins: processors for the system calls, open connections, and clean pages.
func (f floor) run(ctx context.Context) (w window, err error) {
	runtime.GOMAXPROCS(runtime.NumCPU() + len(f.sources))
	freeze, thaw := f.freezeCgroup, f.thawCgroup
	n := len(f.freezer)
	if n == 0 {
		conns := make([]*http.Client, len(f.containers))
		if err := each(len(conns), func(i int) (err error) { conns[i], err = f.dial(ctx); return err }); err != nil {
			return w, err
		}
		n = len(conns)
		freeze = func(i int) error { return call(ctx, conns[i], "POST", "/containers/"+f.containers[i]+"/pause") }
		thaw = func(i int) error { return call(ctx, conns[i], "POST", "/containers/"+f.containers[i]+"/unpause") }
	}
	take, err := f.on.bare(f.sources, f.to)
	if err != nil {
		return w, err
	}
	if err := runOnly(ctx, append([]string{"sync", "-f"}, f.volumes...)...); err != nil {
		return w, err
	}
	w.Begin = time.Now()
	if f.last {
		err = errors.Join(each(n-1, freeze), freeze(n-1))
	} else {
		err = each(n, freeze)
	}
	w.Frozen = time.Now()
	if err == nil {
		err = take(ctx)
	}
	w.Taken = time.Now()
	err = errors.Join(err, each(n, thaw))
	w.End = time.Now()
	return w, err
}

func each(n int, fn func(int) error) error {
	var g errgroup.Group
	for i := range n {
		g.Go(func() error { return fn(i) })
	}
	return g.Wait()
}

// dial makes a connection of its own, and uses it once.
func (f floor) dial(ctx context.Context) (*http.Client, error) {
	c := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(f.host, "unix://"))
		},
	}}
	return c, call(ctx, c, "GET", "/_ping")
}

func call(ctx context.Context, c *http.Client, method, path string) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return err
}

// freezeCgroup freezes by the kernel's freezer (v1: freezer.state, v2: cgroup.freeze) and waits until it is done.
func (f floor) freezeCgroup(i int) error {
	file := f.freezer[i]
	if err := os.WriteFile(file, []byte(word(file, "FROZEN", "1")), 0); err != nil {
		return err
	}
	for {
		done, err := frozen(file)
		if done || err != nil {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (f floor) thawCgroup(i int) error {
	return os.WriteFile(f.freezer[i], []byte(word(f.freezer[i], "THAWED", "0")), 0)
}

func word(file, v1, v2 string) string {
	if strings.HasSuffix(file, "freezer.state") {
		return v1
	}
	return v2
}

func frozen(file string) (bool, error) {
	if strings.HasSuffix(file, "freezer.state") {
		state, err := os.ReadFile(file)
		return strings.TrimSpace(string(state)) == "FROZEN", err
	}
	events, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup.events"))
	return strings.Contains(string(events), "frozen 1"), err
}
