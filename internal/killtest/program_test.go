package killtest

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
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/quiesce"
	"github.com/volsnap/volsnap/snapset"
)

// runLimit is generous: a run takes about half a second, and waits 3 s for a dead-man.
var runLimit = 60 * time.Second * testhost.Slow()

// program is one volsnap that was started.
type program struct {
	cmd   *exec.Cmd
	dir   string
	done  chan struct{} // closed once it has ended
	ended time.Time     // then
}

// begin starts volsnap, which does the fault ("kill@7", or nothing).
func (a *app) begin(t *testing.T, fault string, args ...string) *program {
	t.Helper()
	p := &program{dir: t.TempDir(), done: make(chan struct{})}
	stdout, err := os.Create(filepath.Join(p.dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.Create(filepath.Join(p.dir, "stderr")) // a file: the dead-man has it too, and may live longer
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	p.cmd = exec.Command(filepath.Join(a.bin, "volsnap"), append([]string{"--config", a.config}, args...)...)
	p.cmd.Env = append(os.Environ(), "DOCKER_HOST="+a.Host, "VOLSNAP_FAULT="+fault, "VOLSNAP_FAULT_LOG="+filepath.Join(p.dir, "points"))
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in ProcessState
		p.ended = time.Now()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// wait returns when the program has ended.
func (p *program) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(runLimit):
		t.Fatalf("%q runs after %s:\n%s", p.cmd.Args, runLimit, p.stderr())
	}
}

// status is the exit status, or -1 if a signal ended it.
func (p *program) status(t *testing.T) int {
	t.Helper()
	p.wait(t)
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) read(name string) []byte {
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return []byte(err.Error())
	}
	return text
}

func (p *program) stdout() []byte { return p.read("stdout") }
func (p *program) stderr() string { return string(p.read("stderr")) }

// reach returns when there says that the program has come to a point, or when it has ended.
func (p *program) reach(t *testing.T, what string, there func() bool) {
	t.Helper()
	eventually(t, runLimit, func() error {
		if !p.over() && !there() {
			return fmt.Errorf("%s is not reached:\n%s", what, p.stderr())
		}
		return nil
	})
}

func (p *program) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *program) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// passed are the names of the points that were passed, the first at index 1.
func (p *program) passed(t *testing.T) []string {
	t.Helper()
	names := []string{""}
	for line := range strings.Lines(string(p.read("points"))) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			t.Fatalf("line %q in the log of points", line)
		}
		for len(names) <= n {
			names = append(names, "")
		}
		names[n] = name
	}
	return names
}

// volsnap runs it to its end.
func (a *app) volsnap(t *testing.T, fault string, args ...string) *program {
	t.Helper()
	p := a.begin(t, fault, args...)
	p.wait(t)
	return p
}

// must is volsnap that has to succeed.
func (a *app) must(t *testing.T, args ...string) *program {
	t.Helper()
	p := a.volsnap(t, "", args...)
	if s := p.status(t); s != 0 {
		t.Fatalf("%q: exit status %d:\n%s", args, s, p.stderr())
	}
	return p
}

// limited reports whether the run gave its set up because the freeze took too long: on a busy machine that is as it should
// be, and the test has to try again.
func (p *program) limited(t *testing.T) bool {
	t.Helper()
	return p.status(t) == 1 && strings.Contains(p.stderr(), quiesce.ErrLimit.Error())
}

// settle is one more run, undisturbed, which has to succeed.
func (a *app) settle(t *testing.T) *program {
	t.Helper()
	return a.succeed(t, "run", a.name)
}

// succeed is volsnap that takes a set, and is tried again when the machine was too busy for that.
func (a *app) succeed(t *testing.T, args ...string) *program {
	t.Helper()
	for range 3 {
		p := a.volsnap(t, "", args...)
		if !p.limited(t) {
			if s := p.status(t); s != 0 {
				t.Fatalf("%q, undisturbed: exit status %d:\n%s", args, s, p.stderr())
			}
			return p
		}
		t.Log("the freeze limit passed: the machine is busy")
	}
	t.Fatal("the freeze limit passed three times")
	return nil
}

// list is what volsnap lists of the app.
func (a *app) list(t *testing.T) []snapset.Manifest {
	t.Helper()
	var sets []snapset.Manifest
	if err := json.Unmarshal(a.must(t, "list", a.name, "--json").stdout(), &sets); err != nil {
		t.Fatal(err)
	}
	return sets
}

// deadMen are the processes that keep watch for the app, or for what runs of it died.
func (a *app) deadMen(t *testing.T) (pids []int) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		argv, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(argv, []byte("\x00dead-man\x00")) || !bytes.Contains(argv, []byte(a.run+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// eventually asks until there is no error, and fails the test after the limit.
func eventually(t *testing.T, limit time.Duration, ask func() error) {
	t.Helper()
	if err := poll(limit, ask); err != nil {
		t.Fatalf("after %s: %v", limit, err)
	}
}

func poll(limit time.Duration, ask func() error) error {
	end := time.After(limit)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-end:
			return err
		case <-again.C:
		}
	}
}

// at is the fault of that mode at the nth point.
func at(mode string, n int) string { return fmt.Sprintf("%s@%d", mode, n) }
