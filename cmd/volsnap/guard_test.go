package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// guardedApp is an app of one volume without containers, whose command is another process, as an operator starts it.
type guardedApp struct {
	name, config, mark string
}

func newGuardedApp(t *testing.T) guardedApp {
	t.Helper()
	mnt, work := btrfsOrSkip(t, "data"), t.TempDir()
	a := guardedApp{newApp(), filepath.Join(work, "a config's.yaml"), filepath.Join(mnt, "data", "mark")}
	text := fmt.Sprintf("version: 1\nstate_dir: %q\nrun_dir: %q\napps:\n  %s:\n    volumes: [{path: %q}]\n    freeze: {steps: []}\n    keep: {last: 9}\n",
		filepath.Join(work, "state"), filepath.Join(work, "run"), a.name, filepath.Dir(a.mark))
	for path, content := range map[string]string{a.config: text, a.mark: "old"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a guardedApp) guard(args ...string) *exec.Cmd {
	cmd := exec.Command("volsnap", append([]string{"guard", "--config", a.config, a.name}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock")
	return cmd
}

// upgrade changes the volume, says that it is there, and does what else is said.
func (a guardedApp) upgrade(then string) []string {
	return []string{"--", "sh", "-c", `echo new > "$0"; echo $$ > "$0.pid"; ` + then, a.mark}
}

func (a guardedApp) holds(t *testing.T, want string) {
	t.Helper()
	if got, err := os.ReadFile(a.mark); strings.TrimSpace(string(got)) != want {
		t.Errorf("it holds %q, %v; want %q", got, err, want)
	}
}

// awaitPID is the process of the command, once that has changed the volume.
func (a guardedApp) awaitPID(t *testing.T) (pid int) {
	t.Helper()
	until(t, "the command runs", func() bool {
		text, err := os.ReadFile(a.mark + ".pid")
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil && pid > 0
	})
	return pid
}

func (a guardedApp) sets(t *testing.T) []snapset.Manifest {
	t.Helper()
	r := invoke("", "list", "--config", a.config, "--json", a.name)
	var all []snapset.Manifest
	if err := json.Unmarshal([]byte(r.stdout), &all); r.status != 0 || err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	return all
}

func statusOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	return strings.TrimSuffix(lines[len(lines)-1], "\r")
}

// A signal to guard alone ends the command and not guard, which then says how to go back, or does.
func TestGuardIsSignalled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for _, how := range []string{"says", "rolls back"} {
			t.Run(sig.String()+", and "+how, func(t *testing.T) {
				a := newGuardedApp(t)
				args := a.upgrade("exec sleep 1000")
				if how == "rolls back" {
					args = append([]string{"--rollback"}, args...)
				}
				cmd := a.guard(args...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				a.awaitPID(t)
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if status := statusOf(t, cmd.Wait()); status != exitFailed || !strings.Contains(stderr.String(), fmt.Sprintf("ended by signal %d", sig)) {
					t.Errorf("exit status %d: %s", status, &stderr)
				}
				if how == "says" {
					a.holds(t, "new")
					a.shell(t, lastLine(stderr.String()))
				}
				a.holds(t, "old")
			})
		}
	}
}

func (a guardedApp) shell(t *testing.T, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", line)
	cmd.Env, cmd.Dir = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock"), "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// A command that takes its time over Ctrl-C, and succeeds, is not cut short, and has succeeded.
func TestGuardOutwaitsItsCommand(t *testing.T) {
	a := newGuardedApp(t)
	cmd := a.guard(append([]string{"--health", "true"}, a.upgrade(`trap 'sleep 1; echo done; exit 0' INT; echo ready; while :; do sleep 0.05; done`)...)...)
	term := testhost.StartAt(t, cmd)
	a.awaitPID(t)
	until(t, "it is ready", func() bool { return strings.Contains(term.Screen(), "ready") })
	term.Type(t, "\x03")
	if status := statusOf(t, cmd.Wait()); status != exitDone {
		t.Errorf("exit status %d: %s", status, term.Screen())
	}
	until(t, "it is done", func() bool { return strings.Contains(term.Screen(), "done") })
	a.holds(t, "new")
}

// At a terminal, Ctrl-C ends the command; what guard says after it is there to be read, and works.
func TestGuardAtATerminal(t *testing.T) {
	a := newGuardedApp(t)
	cmd := a.guard(a.upgrade("printf 'sure? '; read answer; echo \"said $answer\"; exec sleep 1000")...)
	term := testhost.StartAt(t, cmd)
	until(t, "it asks", func() bool { return strings.Contains(term.Screen(), "sure? ") })
	term.Type(t, "yes\n")
	until(t, "it was answered", func() bool { return strings.Contains(term.Screen(), "said yes") })
	term.Type(t, "\x03")
	if status := statusOf(t, cmd.Wait()); status != exitFailed {
		t.Errorf("exit status %d: %s", status, term.Screen())
	}
	until(t, "the line is there", func() bool { return strings.HasPrefix(lastLine(term.Screen()), "volsnap restore ") })
	a.holds(t, "new")
	a.shell(t, lastLine(term.Screen()))
	a.holds(t, "old")
}

// Interrupted while the health command is tried, nobody knows whether the upgrade is good: it is not taken back.
func TestGuardInterruptedWhileItWaitsForHealth(t *testing.T) {
	a := newGuardedApp(t)
	asked := filepath.Join(t.TempDir(), "asked")
	cmd := a.guard(append([]string{"--rollback", "--health", "touch " + asked + "; sleep 1000"}, a.upgrade("true")...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is tried", func() bool { _, err := os.Stat(asked); return err == nil })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := statusOf(t, cmd.Wait()); status != exitInterrupted || !strings.HasPrefix(lastLine(stderr.String()), "volsnap restore ") {
		t.Errorf("exit status %d: %s", status, &stderr)
	}
	a.holds(t, "new")
}

// Killed, guard leaves the command alone; the set and its pin are there, and lead back.
func TestGuardIsKilled(t *testing.T) {
	a := newGuardedApp(t)
	cmd := a.guard(a.upgrade("exec sleep 1000")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := a.awaitPID(t)
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "killed"
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the command has gone too: %v", err)
	}
	all := a.sets(t)
	if len(all) != 1 || !all[0].Complete || len(all[0].Pins) != 1 || !strings.HasPrefix(all[0].Pins[0], "guard until ") || all[0].Guard == nil {
		t.Fatalf("sets: %+v", all)
	}
	if r := invoke("", "delete", "--config", a.config, string(all[0].ID)); r.status != exitFailed || !strings.Contains(r.stderr, engine.ErrPinned.Error()) {
		t.Errorf("delete: %+v", r)
	}
	a.shell(t, "volsnap restore --config "+shellLine([]string{a.config})+" --in-place --yes "+string(all[0].ID))
	a.holds(t, "old")
}

// The line means the same to a shell as to this program.
func TestShellLine(t *testing.T) {
	for _, argv := range [][]string{
		{"a", "b/c", "--x=y"}, {""}, {"a b"}, {"it's", `"$HOME"`, "`ls`", "a\nb"}, {"*", "~", "a;b", "#x", `\`, "\x01é"}, {"'", "''"},
	} {
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+shellLine(argv)).Output()
		if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); err != nil || strings.Join(got, "|") != strings.Join(argv, "|") {
			t.Errorf("%q as %s: %q, %v", argv, shellLine(argv), got, err)
		}
	}
}

func TestBeforeLabel(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"docker", "compose", "up", "-d"}, "before: docker compose up -d"},
		{[]string{"sh", "-c", "a\nb"}, `before: sh -c "a\nb"`},
		{[]string{strings.Repeat("é", 300)}, "before: " + strings.Repeat("é", 94) + "…"},
		{[]string{"\xff"}, "before: �"},
	} {
		got := beforeLabel(tt.argv)
		if got != tt.want || len(got) > maxLabel {
			t.Errorf("%q: %q (%d bytes), want %q", tt.argv, got, len(got), tt.want)
		}
	}
	if got := recorded([]string{"a", strings.Repeat("b", maxRecorded), "c"}); strings.Join(got, " ") != "a …" {
		t.Errorf("%q", got)
	}
}
