//go:build !vmtest

package killtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/testhost"
)

// stopAt begins a restore, and returns when it was stopped at a point.
func (r *restoring) stopAt(t *testing.T, point string) *program {
	t.Helper()
	p := r.begin(t, "stop@"+point, r.args()...)
	p.reach(t, point, p.stopped)
	return p
}

// TestRestoreWhileTheEngineIsAway takes the engine away while volumes are being replaced. When it is back, no container runs, not even one
// that somebody had stopped and that the engine starts with itself; the next restore brings all to its end.
func TestRestoreWhileTheEngineIsAway(t *testing.T) {
	for name, tc := range map[string]struct {
		flags []string
		away  func(*testhost.Engine) error
	}{
		"killed":                 {nil, (*testhost.Engine).Kill},
		"ended, containers live": {[]string{"--live-restore"}, (*testhost.Engine).Stop},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRestoring(t, newHost(t, tc.flags...))
			r.Docker(t, "update", "--restart", "always", r.of("two"))
			r.Docker(t, "stop", r.of("two"))
			r.write(t, "new")
			p := r.stopAt(t, "after swap")
			if err := tc.away(r.Engine); err != nil {
				t.Fatal(err)
			}
			p.signal(t, syscall.SIGCONT)
			if status := p.status(t); status != 1 || !strings.Contains(p.stderr(), "a restore did not end") {
				t.Errorf("status %d:\n%s", status, p.stderr())
			}
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			r.checkNobodyRuns(t, r.states(t))
			r.must(t, r.args()...)
			if two := r.inspect(t, "two"); two.Running || two.RestartPolicy != "always" {
				t.Errorf("two is %s, restart %q", two.State, two.RestartPolicy)
			}
			r.Docker(t, "update", "--restart", "no", r.of("two"))
			r.Docker(t, "start", r.of("two"))
			r.check(t, "new")
		})
	}
}

// TestRestoreMeetsOthers lets somebody start a container on what is about to be replaced, and mount a disk in it. Neither loses anything.
func TestRestoreMeetsOthers(t *testing.T) {
	r := newRestoring(t, newHost(t))
	r.write(t, "new")
	p := r.stopAt(t, "before swap")
	r.Run(t, r.of("late"), testhost.RunOptions{Flags: []string{"-v", r.paths[3] + ":/x"}})
	p.signal(t, syscall.SIGCONT)
	if status := p.status(t); status != 1 || !strings.Contains(p.stderr(), r.of("late")) || strings.Join(r.states(t), " ") != "new new new new" {
		t.Errorf("status %d, %q:\n%s", status, r.states(t), p.stderr())
	}
	if got := r.Docker(t, "exec", r.of("late"), "busybox", "cat", "/x/"+mark); got != "new" {
		t.Errorf("the container sees %q", got)
	}
	r.Docker(t, "rm", "-f", r.of("late"))

	for _, path := range []string{r.paths[3], r.paths[0]} { // one is copied, one is swapped
		disk := filepath.Join(path, "disk")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", disk, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
		if err := os.WriteFile(filepath.Join(disk, "precious"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if status := r.volsnap(t, "", r.args()...).status(t); status != 1 {
			t.Errorf("%s: status %d", path, status)
		}
		if _, err := os.Stat(filepath.Join(disk, "precious")); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(disk, 0); err != nil {
			t.Fatal(err)
		}
	}
	r.must(t, r.args()...)
	r.check(t, "new")
}
