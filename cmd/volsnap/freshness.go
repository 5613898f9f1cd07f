package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/report"
)

// replicaJSON is how an app stands at one target, as its last replication there found it.
type replicaJSON struct {
	Target string     `json:"target"`
	Newest string     `json:"newest"`
	AgeMS  float64    `json:"age_ms"`
	OK     bool       `json:"ok"`
	Tried  *time.Time `json:"tried"` // null: never
	Error  string     `json:"error"`
}

// replicas tells of each target of an app how fresh its newest replica is, and adds to the problems where that is not as it
// should be. No target is asked.
func (h *host) replicas(app engine.App, health *engine.Health, maxAge time.Duration) []replicaJSON {
	out := []replicaJSON{}
	for _, t := range app.Targets {
		one := replicaJSON{Target: t.Name}
		last, err := report.LoadReplication(h.state, app.Name, t.Name)
		if err != nil {
			one.Error = err.Error()
		}
		if last != nil {
			one.Newest, one.OK, one.Tried, one.Error = last.Newest, last.OK, &last.Started, last.Error
		}
		age := time.Duration(-1)
		if id, err := driver.ParseSetID(one.Newest); err == nil {
			age = h.engine.Now().Sub(id.Time())
			one.AgeMS = float64(age.Milliseconds())
		}
		if p := stale(app.Name, t.Name, one, age, maxAge); p != nil {
			health.Problems = append(health.Problems, *p)
		}
		out = append(out, one)
	}
	return out
}

// maxDrillAge is how old the last drill of an app may be that is drilled at all: a weekly timer that failed a few times.
const maxDrillAge = 35 * 24 * time.Hour

// lastDrill is the last one of an app, if there was one. To the problems it adds that it failed, or that it is long ago.
func (h *host) lastDrill(app string, health *engine.Health) *report.Drill {
	warn := func(what, mend string) {
		health.Problems = append(health.Problems, engine.Problem{About: app, Finding: driver.Finding{Level: driver.Warning, What: what, Mend: mend}})
	}
	last, err := report.LoadDrill(h.state, app)
	if err != nil {
		warn(err.Error(), "remove it; the next drill writes it anew")
	}
	if last == nil {
		return nil
	}
	again := "`volsnap drill " + app + "`"
	if last.From != "" {
		again = "`volsnap drill " + app + " --from " + last.From + "`"
	}
	age := h.engine.Now().Sub(last.Started)
	switch {
	case !last.OK:
		warn("its last drill failed: "+strings.Join(last.Failed(), ", "), "see what "+again+" says")
	case age > maxDrillAge:
		warn("its last drill was "+inDays(age)+" ago", again+"; see whether the timer runs: systemctl list-timers 'volsnap-drill@*'")
	}
	return last
}

func inDays(d time.Duration) string { return strconv.Itoa(int(d.Hours()/24)) + " days" }

// drillInWords is how the last drill ended, and how long ago it was.
func drillInWords(d *report.Drill, now time.Time) string {
	switch {
	case d == nil:
		return "none"
	case d.OK:
		return "passed " + age(now.Sub(d.Started)) + " ago"
	default:
		return "FAILED " + age(now.Sub(d.Started)) + " ago"
	}
}

// inWords is how old the newest replica at each target is.
func inWords(all []replicaJSON) string {
	words := make([]string, 0, len(all))
	for _, r := range all {
		old := "none"
		if r.Newest != "" {
			old = age(time.Duration(r.AgeMS) * time.Millisecond)
		}
		words = append(words, r.Target+": "+old)
	}
	return strings.Join(words, ", ")
}

// stale is what is wrong with a replica of that age, if anything.
func stale(app, target string, r replicaJSON, age, maxAge time.Duration) *engine.Problem {
	about := app + " at " + target
	mend := "see what `volsnap replicate " + app + " --target " + target + "` says"
	p := &engine.Problem{About: about, Finding: driver.Finding{Level: driver.Warning, Mend: mend}}
	switch {
	case r.Tried == nil && r.Error == "":
		p.What = "nothing was replicated yet"
	case age < 0 && r.Newest == "":
		p.Level, p.What = driver.Error, "the target has no set of this app: "+r.Error
	case age > 2*maxAge:
		p.Level, p.What = driver.Error, "its newest replica is "+age.Round(time.Minute).String()+" old"
	case age > maxAge:
		p.What = "its newest replica is " + age.Round(time.Minute).String() + " old"
	case !r.OK:
		p.What = "the last replication failed: " + r.Error
	default:
		return nil
	}
	return p
}
