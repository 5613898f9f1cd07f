package killtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const sample = 4 * time.Millisecond

// freezer watches from outside, by the kernel's word, what is held.
type freezer struct {
	stop, stopped chan struct{}

	mu      sync.Mutex
	watched []*watched
}

// watched is one thing that may be held.
type watched struct {
	name    string
	held    func() bool
	now     bool
	since   time.Time     // of the present hold
	last    time.Time     // when it was seen held last
	longest time.Duration // of the holds that have ended, and of the present one
	times   int           // it was seen held anew
	free    int           // it was seen free
}

// watch begins to watch containers of the app and the exec step's marker. It ends with the test.
func (a *app) watch(t *testing.T, parts ...string) *freezer {
	t.Helper()
	f := &freezer{stop: make(chan struct{}), stopped: make(chan struct{})}
	for _, part := range parts {
		pid := a.inspect(t, part).PID
		file, frozen := freezerFile(t, pid)
		f.watched = append(f.watched, &watched{name: part, held: func() bool {
			state, err := os.ReadFile(file)
			return err == nil && slices.Contains(frozen, strings.TrimSpace(string(state)))
		}})
		if part == "one" {
			path := filepath.Join("/proc", fmt.Sprint(pid), "root", marker)
			f.watched = append(f.watched, &watched{name: "marker", held: func() bool {
				_, err := os.Lstat(path)
				return err == nil
			}})
		}
	}
	go f.follow()
	t.Cleanup(f.end)
	return f
}

// freezerFile is the file that tells a container's state, in control groups v1 or v2, and what it says of a frozen one.
func freezerFile(t *testing.T, pid int) (path string, frozen []string) {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case parts[1] == "freezer":
			return filepath.Join("/sys/fs/cgroup/freezer", parts[2], "freezer.state"), []string{"FROZEN", "FREEZING"}
		case parts[0] == "0":
			path = filepath.Join("/sys/fs/cgroup", parts[2], "cgroup.freeze")
		}
	}
	return path, []string{"1"}
}

func (f *freezer) follow() {
	defer close(f.stopped)
	tick := time.NewTicker(sample)
	defer tick.Stop()
	for {
		f.look()
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
	}
}

func (f *freezer) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watched {
		was := w.now
		w.now = w.held()
		now := time.Now()
		switch {
		case !w.now:
			w.free++
			continue
		case !was:
			w.since = now
			w.times++
		}
		w.last = now
		w.longest = max(w.longest, now.Sub(w.since))
	}
}

func (f *freezer) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	<-f.stopped
}

// of is what was seen of one container, or of the marker, so far.
func (f *freezer) of(name string) watched {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watched {
		if w.name == name {
			return *w
		}
	}
	return watched{}
}

// ours are the things that volsnap may hold.
var ours = []string{"one", "two", "marker"}

// awaitFree returns when nothing of ours is held any more, and fails when that takes longer than the bound.
func (f *freezer) awaitFree(t *testing.T) {
	t.Helper()
	f.awaitAll(t, ours)
}

func (f *freezer) awaitAll(t *testing.T, names []string) {
	t.Helper()
	begin := time.Now()
	for _, name := range names {
		err := poll(boundOf(name)-time.Since(begin), func() error {
			f.look()
			if f.of(name).now {
				return fmt.Errorf("%s is still held", name)
			}
			return nil
		})
		if err != nil {
			t.Errorf("I1: after %s: %v", time.Since(begin).Round(time.Millisecond), err)
		}
	}
}

// check holds what was seen against I1.
func (f *freezer) check(t *testing.T) {
	t.Helper()
	f.checkAll(t, ours)
}

func (f *freezer) checkAll(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		if w := f.of(name); w.longest > boundOf(name) {
			t.Errorf("I1: %s was held for %s", name, w.longest)
		}
	}
	if w := f.of("resting"); w.name != "" && w.free > 0 {
		t.Error("I1: the container that others had paused was let go")
	}
	if w := f.of("reader"); w.times > 0 {
		t.Error("a container that cannot write was paused")
	}
}

// after is how long after a moment something of ours was seen held last.
func (f *freezer) after(moment time.Time) time.Duration {
	var longest time.Duration
	for _, name := range ours {
		longest = max(longest, f.of(name).last.Sub(moment))
	}
	return longest
}

// longest is how long anything of ours was held at a time.
func (f *freezer) longest() time.Duration {
	var longest time.Duration
	for _, name := range ours {
		longest = max(longest, f.of(name).longest)
	}
	return longest
}
