package quiesce

import (
	"sync"
	"time"
)

// Kind is how something is held.
type Kind string

// The kinds of Entry.
const (
	KindPause Kind = "pause" // docker pause; undone by unpause
	KindExec  Kind = "exec"  // a command in the container; undone by another
)

// Entry names one thing that may be frozen, with all that is needed to let it go.
type Entry struct {
	Kind      Kind          `json:"kind"`
	Container string        `json:"container"` // the full id: a replaced container is another one
	Name      string        `json:"name"`
	StartedAt time.Time     `json:"started_at"`
	Until     time.Time     `json:"until"` // a container that was started after this holds nothing of ours
	PID       int           `json:"pid"`   // its first process, for a thaw while Docker does not answer
	Thaw      []string      `json:"thaw,omitempty"`
	Timeout   time.Duration `json:"timeout_ns,omitempty"` // of Thaw
}

// entryState is what this process knows of an entry.
type entryState int

const (
	untouched entryState = iota // not tried yet
	trying                      // asked to freeze, and no answer, or a doubtful one: it may freeze yet
	held                        // frozen by us
	left                        // not ours: paused by others, stopped, gone
)

// Hold follows the entries of one freeze.
type Hold struct {
	mu    sync.Mutex
	items []*holdItem
	leave func(Entry) error
}

type holdItem struct {
	entry      Entry
	state      entryState
	start, end time.Time
	kept       bool // it was held by us, and still frozen when it was thawed
	ended      bool // its container had ended when it was to be thawed
}

func newHold(entries []Entry, leave func(Entry) error) *Hold {
	h := &Hold{leave: leave}
	for _, e := range entries {
		h.items = append(h.items, &holdItem{entry: e})
	}
	return h
}

func (h *Hold) try(e Entry)  { h.set(e, trying) }
func (h *Hold) held(e Entry) { h.set(e, held) }

// left strikes an entry that turned out not to be ours, in the journal too, so that nobody thaws it.
func (h *Hold) left(e Entry) error {
	h.set(e, left)
	return h.leave(e)
}

func (h *Hold) set(e Entry, s entryState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range h.items {
		if it.entry.Kind == e.Kind && it.entry.Container == e.Container {
			it.state = s
			if s == trying && it.start.IsZero() {
				it.start = time.Now()
			}
		}
	}
}

// in lists the items in one of the states.
func (h *Hold) in(states ...entryState) []*holdItem {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []*holdItem
	for _, it := range h.items {
		for _, s := range states {
			if it.state == s {
				found = append(found, it)
			}
		}
	}
	return found
}

// sure tells whether this process saw the item freeze.
func (h *Hold) sure(it *holdItem) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return it.state == held
}

// thawed notes that an item runs again.
func (h *Hold) thawed(it *holdItem, was found) {
	h.mu.Lock()
	defer h.mu.Unlock()
	it.kept, it.ended = was == wasFrozen && it.state == held, was == wasGone
	it.state, it.end = untouched, time.Now()
}

// pause sums up, once all is thawed.
func (h *Hold) pause() Pause {
	h.mu.Lock()
	defer h.mu.Unlock()
	var p Pause
	for _, it := range h.items {
		if it.start.IsZero() || it.end.IsZero() {
			continue
		}
		if p.Start.IsZero() || it.start.Before(p.Start) {
			p.Start = it.start
		}
		if it.end.After(p.End) {
			p.End = it.end
		}
		p.Containers = append(p.Containers, ContainerPause{
			ID: it.entry.Container, Name: it.entry.Name, Kind: it.entry.Kind, Start: it.start, End: it.end, Held: it.kept, Ended: it.ended,
		})
	}
	return p
}
