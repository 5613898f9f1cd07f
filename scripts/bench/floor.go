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

	"github.com/dennwc/btrfs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
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
	containers, sources []string
	freezer             []string // files of the kernel's freezer, instead of the engine's pause
	last                bool     // the last container is paused after the others, as volsnap does with a database
}

func floorMain(args []string) error {
	var f floor
	var containers, sources, freezer string
	flags := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	flags.StringVar(&f.host, "host", "", "socket of the Docker engine")
	flags.StringVar(&containers, "containers", "", "ids")
	flags.StringVar(&sources, "sources", "", "subvolumes")
	flags.StringVar(&freezer, "freezer", "", "freezer.state or cgroup.freeze of each container")
	flags.BoolVar(&f.last, "last", false, "pause the last container after the others")
	flags.StringVar(&f.to, "to", "", "existing directory for the snapshots")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	f.containers, f.sources = strings.Split(containers, ","), strings.Split(sources, ",")
	if freezer != "" {
		f.freezer = strings.Split(freezer, ",")
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
	if err := separate(f.to, len(f.sources)); err != nil {
		return w, err
	}
	dir, err := os.Open(f.to)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
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
		err = each(len(f.sources), func(i int) error {
			return btrfs.SnapshotSubVolume(f.sources[i], filepath.Join(f.to, fmt.Sprint(i), "snapshot"), true)
		})
	}
	w.Taken = time.Now()
	err = errors.Join(err, each(n, thaw))
	w.End = time.Now()
	return w, err
}

// separate makes directories for n snapshots. In one directory the kernel makes one after the other.
func separate(to string, n int) error {
	for i := range n {
		if err := os.MkdirAll(filepath.Join(to, fmt.Sprint(i)), 0o700); err != nil {
			return err
		}
	}
	return nil
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
