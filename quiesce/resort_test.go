package quiesce_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/quiesce"
)

// freezer is a real control group with a process in it, named as a container's is.
type freezer struct{ dir, file, frozen, thawed string }

func newFreezer(t *testing.T, id string) (*freezer, int) {
	t.Helper()
	f := &freezer{dir: filepath.Join("/sys/fs/cgroup/freezer", id), file: "freezer.state", frozen: "FROZEN", thawed: "THAWED"}
	if _, err := os.Stat("/sys/fs/cgroup/freezer"); err != nil {
		f = &freezer{dir: filepath.Join("/sys/fs/cgroup", id), file: "cgroup.freeze", frozen: "1", thawed: "0"}
	}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.set(t, f.thawed)
		err := errors.Join(process.Process.Kill(), ignoreExit(process.Wait()), os.Remove(f.dir))
		if err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(f.dir, "cgroup.procs"), []byte(strconv.Itoa(process.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return f, process.Process.Pid
}

func ignoreExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

func (f *freezer) set(t *testing.T, state string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, f.file), []byte(state), 0); err != nil {
		t.Error(err)
	}
}

func (f *freezer) isFrozen(t *testing.T) bool {
	t.Helper()
	state, err := os.ReadFile(filepath.Join(f.dir, f.file))
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(state)) == f.frozen
}

// I1: two pause steps with a command to thaw between them, and Docker hangs when they are to be undone. The first one's
// container runs within a second of the limit, though its turn has not come.
func TestNoStepKeepsAnotherPaused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups are root's")
	}
	first, last := strings.Repeat("a", 64), strings.Repeat("b", 64)
	group, pid := newFreezer(t, first)
	f := newFixture(t, first, "between", last)
	f.Limit = 300 * time.Millisecond
	let := make(chan struct{})
	f.hook = func(ctx context.Context, call string) error {
		if !strings.HasPrefix(call, "unpause") && call != "exec between unlock" {
			return nil
		}
		select {
		case <-let:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.after = func(call string) error {
		if call == "pause "+first {
			group.set(t, group.frozen)
		}
		return nil
	}
	entry := quiesce.PauseEntry(docker.Container{ID: first, Name: "first", StartedAt: epoch, PID: pid})
	steps := []quiesce.Step{f.pause([]quiesce.Entry{entry}), f.exec("between", "lock", "unlock"), f.pause(f.wave(last))}
	done := make(chan error, 1)
	begin := time.Now()
	go func() {
		_, err := f.Frozen(t.Context(), steps, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		done <- err
	}()
	for time.Since(begin) < 10*time.Millisecond || group.isFrozen(t) {
		if time.Since(begin) > 10*time.Second {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(begin); took > f.Limit+time.Second {
		t.Errorf("held for %s, the limit is %s", took, f.Limit)
	}
	close(let)
	if err := <-done; !errors.Is(err, quiesce.ErrLimit) {
		t.Errorf("%v, want ErrLimit", err)
	}
}
