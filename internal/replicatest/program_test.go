package replicatest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// program is one volsnap that was started: at the source, or at the target if that fetches.
type program struct {
	cmd  *exec.Cmd
	dir  string
	done chan struct{} // closed once it has ended
}

// begin starts volsnap, which does the fault ("kill@7", or nothing).
func (p *pair) begin(t *testing.T, fault string, args ...string) *program {
	t.Helper()
	g := &program{dir: t.TempDir(), done: make(chan struct{})}
	stdout, err := os.Create(filepath.Join(g.dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.Create(filepath.Join(g.dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	config := p.config
	if p.way.fetch && (args[0] == "replicate" || slices.Contains(args, "--target")) {
		config = p.fetch
	}
	g.cmd = exec.Command(p.bin, append([]string{"--config", config}, args...)...)
	g.cmd.Env = append(os.Environ(), p.sshd.Env(), "DOCKER_HOST=unix:///nonexistent/docker.sock",
		"VOLSNAP_FAULT="+fault, "VOLSNAP_FAULT_LOG="+filepath.Join(g.dir, "points"))
	g.cmd.Stdout, g.cmd.Stderr = stdout, stderr
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait() // how it ended is in ProcessState
		close(g.done)
	}()
	t.Cleanup(func() {
		g.kill()
		<-g.done
	})
	return g
}

func (g *program) kill() { _ = g.cmd.Process.Kill() } // it may have ended

// status waits for the end. It is the exit status, or -1 if a signal ended it.
func (g *program) status(t *testing.T) int {
	t.Helper()
	select {
	case <-g.done:
	case <-time.After(3 * limit()): // a line that hangs takes a minute to be noticed
		t.Fatalf("%q still runs:\n%s", g.cmd.Args, g.stderr())
	}
	return g.cmd.ProcessState.ExitCode()
}

func (g *program) read(name string) string {
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (g *program) stderr() string { return g.read("stderr") }

// passed are the names of the points that were passed, the first at index 1.
func (g *program) passed(t *testing.T) []string {
	t.Helper()
	return pointsIn(t, filepath.Join(g.dir, "points"))
}

func pointsIn(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	names := []string{""}
	for line := range strings.Lines(string(text)) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("line %q in the log of points", line)
		}
		for len(names) <= n {
			names = append(names, "")
		}
		names[n] = name
	}
	return names
}

// must is volsnap that has to succeed. What it prints is JSON.
func (p *pair) must(t *testing.T, into any, args ...string) {
	t.Helper()
	g := p.begin(t, "", args...)
	if s := g.status(t); s != 0 {
		t.Fatalf("%q: exit status %d:\n%s", args, s, g.stderr())
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(g.read("stdout")), into); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
}

// list is what volsnap lists of the app, with arguments such as "--target".
func (p *pair) list(t *testing.T, args ...string) (sets []snapset.Manifest) {
	t.Helper()
	p.must(t, &sets, append([]string{"list", p.app, "--json"}, args...)...)
	return sets
}

// replicate is one that is not disturbed.
func (p *pair) replicate(t *testing.T) report.Replication {
	t.Helper()
	var all []report.Replication
	p.must(t, &all, "replicate", p.app, "--json")
	if len(all) != 1 || !all[0].OK {
		t.Fatalf("replicated %+v", all)
	}
	return all[0]
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// gone reports whether there is no such process any more, or only one that nobody has waited for.
func gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

func kill(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) } // it may have ended
