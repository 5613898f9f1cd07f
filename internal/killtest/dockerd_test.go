//go:build !vmtest

package killtest

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

// engineBack is how long after Docker answers again its own idea of what is paused may be wrong.
var engineBack = 15 * time.Second * testhost.Slow()

// containers can be let go without Docker; the exec step's command cannot be run.
var containers = []string{"one", "two"}

func TestEngineThatGoesAwayDuringThePause(t *testing.T) {
	for _, tc := range []struct {
		name string
		app  string
		mode string // of what happens to the run meanwhile
		away func(*host) error
	}{
		{"killed, containers live, run hangs", "away1", "hang", (*host).killEngine},
		{"killed, containers live, run stopped", "away2", "stop", (*host).killEngine},
		{"killed, containers live, run killed", "away3", "kill", (*host).killEngine},
		{"ended, containers live, run hangs", "away4", "hang", (*host).endEngine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newHost(t, "--live-restore"), tc.app)
			mode := tc.mode
			if mode == "kill" {
				mode = "hang"
			}
			p, f := a.hold(t, mode)
			defer func() {
				if t.Failed() {
					t.Log(p.stderr())
				}
			}()
			begin := time.Now()
			if err := tc.away(a.host); err != nil {
				t.Fatal(err)
			}
			if tc.mode == "kill" {
				p.signal(t, syscall.SIGKILL)
			}
			f.awaitAll(t, containers)
			longest := max(f.of("one").last.Sub(begin), f.of("two").last.Sub(begin))
			t.Logf("held for %s without Docker", longest.Round(time.Millisecond))
			if err := a.Start(); err != nil {
				t.Fatal(err)
			}
			a.awaitAgreement(t)
			f.awaitFree(t)
			f.end()
			f.checkAll(t, containers)
			p.signal(t, syscall.SIGCONT)
			if tc.mode != "stop" {
				p.signal(t, syscall.SIGKILL)
			}
			p.wait(t)
			eventually(t, engineBack, func() error { // whatever it finds paused it takes for ours
				if pids := a.deadMen(t); len(pids) > 0 {
					return fmt.Errorf("dead-men: %v", pids)
				}
				return nil
			})
			for _, part := range []string{"one", "two"} {
				a.Docker(t, "pause", a.of(part))
				a.Docker(t, "unpause", a.of(part))
			}
			a.settled(t)
		})
	}
}

func (h *host) killEngine() error { return h.Kill() }
func (h *host) endEngine() error  { return h.Stop() }

// awaitAgreement returns when Docker, which is back, knows that nothing of ours is paused any more, and that what others
// had paused is.
func (a *app) awaitAgreement(t *testing.T) {
	t.Helper()
	eventually(t, engineBack, func() error {
		for part, want := range map[string]string{"one": "running", "two": "running", "resting": "paused"} {
			if got := a.inspect(t, part).State; got != want {
				return fmt.Errorf("Docker says that %s is %s, want %s", part, got, want)
			}
		}
		return nil
	})
}

// TestEngineRestartedDuringThePause is without --live-restore: dockerd ends its containers when it ends.
func TestEngineRestartedDuringThePause(t *testing.T) {
	a := newApp(t, newHost(t), "restart")
	p, f := a.hold(t, "stop")
	sets := complete(a.list(t))
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGCONT)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	f.end()
	if longest := f.longest(); longest > bound { // what others had paused ended with the rest
		t.Errorf("I1: held for %s", longest)
	}
	if out := a.Docker(t, "ps", "--filter", "status=paused", "--quiet"); out != "" {
		t.Errorf("still paused: %s", out)
	}
	a.checkOutcome(t, p, sets, false)
	a.Docker(t, "start", a.of("one"), a.of("two"), a.of("reader"), a.of("resting"))
	a.Docker(t, "pause", a.of("resting"))
	a.settled(t)
}
