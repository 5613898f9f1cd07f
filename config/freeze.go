package config

import (
	"strings"
	"time"
)

const (
	leastLimit, mostLimit     = 100 * time.Millisecond, 10 * time.Minute
	leastTimeout, mostTimeout = 100 * time.Millisecond, time.Hour
)

func defaultFreeze() Freeze {
	return Freeze{Limit: DefaultLimit, Steps: []Step{Pause{}}}
}

func readFreeze(v value) Freeze {
	freeze := defaultFreeze()
	f := v.fields("limit", "steps")
	freeze.Limit = f.span("limit", DefaultLimit, leastLimit, mostLimit)
	if list, ok := f.get("steps"); ok {
		freeze.StepsGiven = true
		freeze.Steps = steps(list)
	}
	return freeze
}

// steps reads the list of steps and checks them against each other: Docker runs no command in a paused container, so
// whatever works inside a container comes before the step that pauses it.
func steps(v value) []Step {
	var all []Step
	p := pauses{named: map[string]string{}}
	v.each("[{pause: {}}]", func(item value) {
		s, at := step(item)
		if s == nil {
			return
		}
		all = append(all, s)
		p.check(s, at)
	})
	return all
}

// pauses is what the steps so far have paused.
type pauses struct {
	named map[string]string // container -> the step that pauses it
	any   string            // the pause step before this one, if any
	all   string            // the step that pauses all writers, if any
}

func (p *pauses) check(s Step, at value) {
	switch s := s.(type) {
	case Pause:
		p.checkPause(s, at)
	case Postgres:
		if p.all != "" {
			at.fail("comes after %s, which pauses all writers: no command can run in a paused container, put it before", p.all)
			return
		}
		p.checkInside(s.Container, at)
	case Exec:
		p.checkInside(s.Container, at)
	}
}

func (p *pauses) checkInside(container string, at value) {
	if by := p.named[container]; by != "" && container != "" {
		at.fail("comes after %s, which pauses %s: no command can run in a paused container, put it before", by, quote(container))
	}
}

func (p *pauses) checkPause(s Pause, at value) {
	where := at.where
	if i := strings.LastIndex(where, "steps["); i >= 0 {
		where = where[i:]
	}
	switch {
	case p.all != "":
		at.fail("%s pauses all writers already: with more than one pause, each needs its containers", p.all)
	case len(s.Containers) == 0 && p.any != "":
		at.fail("%s is a pause already: with more than one pause, each needs its containers", p.any)
	}
	for _, c := range s.Containers {
		if by := p.named[c]; by != "" {
			at.fail("container %s is paused by %s already", quote(c), by)
			continue
		}
		p.named[c] = where
	}
	p.any = where
	if len(s.Containers) == 0 {
		p.all = where
	}
}
