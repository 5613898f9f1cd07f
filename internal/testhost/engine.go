package testhost

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	engineReady = 20 * time.Second // seen: 0.3 s; the machine may be busy
	engineStop  = 30 * time.Second // dockerd gives containers 10 s (see the stop signal in Run), then ends itself
	cliLimit    = time.Minute
)

//go:embed sweep.sh
var sweepScript string

// Engine is a Docker engine of the tests' own: no network, its own sockets, processes and data. It ends with the
// process that started it, even when that one is killed.
type Engine struct {
	Host     string // for DOCKER_HOST: "unix:///..."
	Dir      string // sockets, log and pid file; removed by Close
	DataRoot string // dockerd's --data-root: volumes are in DataRoot/volumes

	flags  []string
	driver string
	daemon *daemon
	reaper *exec.Cmd
	image  bool
}

// StartEngine starts an engine for one test and ends it with the test. An empty dataRoot is a temporary directory;
// otherwise it may lie on any file system that the caller mounted before. Flags are further ones of dockerd, such as
// "--live-restore".
func StartEngine(t testing.TB, dataRoot string, flags ...string) *Engine {
	t.Helper()
	Require(t, PartDocker, haveDocker())
	e, err := NewEngine(dataRoot, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func haveDocker() error {
	if os.Geteuid() != 0 {
		return errors.New("a Docker engine needs root")
	}
	_, noDaemon := exec.LookPath(dockerd())
	_, noCLI := exec.LookPath("docker")
	return errors.Join(noDaemon, noCLI)
}

// NewEngine is StartEngine outside a test. The caller must Close what it returns.
func NewEngine(dataRoot string, flags ...string) (*Engine, error) {
	dir, err := os.MkdirTemp("", "vsd") // short: a socket's path holds 107 bytes, see unix(7)
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	e := &Engine{Dir: dir, Host: "unix://" + filepath.Join(dir, "docker.sock"), DataRoot: dataRoot, flags: flags}
	if dataRoot == "" {
		e.DataRoot = filepath.Join(dir, "data")
	}
	if err := e.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("start engine: %w", err), e.Close())
	}
	return e, nil
}

// begin notes what is mounted before dockerd mounts anything, sets the reaper waiting and finds a storage driver.
func (e *Engine) begin() error {
	if err := os.MkdirAll(e.DataRoot, 0o710); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.Dir, "mounts"), mounts, 0o600); err != nil {
		return err
	}
	if err := e.startReaper(); err != nil {
		return err
	}
	var failed error
	for _, e.driver = range []string{"overlay2", "vfs"} {
		if err := e.Start(); err == nil {
			return nil
		} else {
			failed = errors.Join(failed, fmt.Errorf("with %s: %w", e.driver, err))
		}
	}
	return failed
}

// Start starts dockerd again after Stop or Kill and returns when it answers.
func (e *Engine) Start() error {
	if e.daemon != nil {
		return errors.New("start dockerd: it runs")
	}
	config := filepath.Join(e.Dir, "daemon.json") // else it reads the host's own
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	args := append([]string{
		"--config-file", config, "--data-root", e.DataRoot, "--exec-root", filepath.Join(e.Dir, "exec"), "--pidfile", filepath.Join(e.Dir, "pid"),
		"-H", e.Host, "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver", e.driver,
	}, e.flags...)
	d, err := startDaemon(filepath.Join(e.Dir, "dockerd.log"), args)
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	e.daemon = d
	if err := d.await(func() error { _, err := e.CLI("version"); return err }); err != nil {
		return errors.Join(fmt.Errorf("start dockerd: %w\n%s", err, e.logTail()), e.Kill())
	}
	return nil
}

// Stop ends dockerd as an init system does, and waits. Without --live-restore its containers stop too.
func (e *Engine) Stop() error { return e.end(syscall.SIGTERM) }

// Kill ends dockerd at once. Its containers run on.
func (e *Engine) Kill() error {
	containerd := e.containerd()
	err := e.end(syscall.SIGKILL)
	if containerd == 0 {
		return err
	}
	// The kernel kills it with its parent (PR_SET_PDEATHSIG), a moment later. A dockerd that starts before that takes it
	// for alive, and gives up after waiting for it.
	return errors.Join(err, awaitGone(containerd))
}

// containerd is the process id of dockerd's child, 0 without one.
func (e *Engine) containerd() int {
	b, err := os.ReadFile(filepath.Join(e.Dir, "exec", "containerd", "containerd.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return max(pid, 0)
}

func (e *Engine) end(sig syscall.Signal) error {
	if e.daemon == nil {
		return nil
	}
	d := e.daemon
	e.daemon = nil
	return d.end(sig)
}

// Close removes every container, ends the engine and all its processes, and unmounts what it had mounted. Data in a
// caller's dataRoot stays.
func (e *Engine) Close() error {
	var failed error
	if e.daemon != nil {
		failed = e.removeContainers()
	}
	failed = errors.Join(failed, e.Stop())
	if e.reaper != nil {
		_ = e.reaper.Process.Kill()
		_ = e.reaper.Wait() // always "killed"
		e.reaper = nil
	}
	out, err := exec.Command("/bin/sh", "-c", sweepScript, "sweep", e.Dir, e.DataRoot).CombinedOutput()
	if err != nil {
		failed = errors.Join(failed, fmt.Errorf("sweep after engine: %w: %s", err, out))
	}
	return failed
}

func (e *Engine) removeContainers() error {
	out, err := e.CLI("ps", "-aq", "--no-trunc")
	if err != nil || out == "" {
		return err
	}
	_, err = e.CLI(append([]string{"rm", "-f", "-v"}, strings.Fields(out)...)...)
	return err
}

// startReaper starts a shell that waits for the end of its standard input, which comes with the end of this process,
// and then sweeps as Close does.
func (e *Engine) startReaper() error {
	e.reaper = exec.Command("/bin/sh", "-c", sweepScript, "sweep", e.Dir, e.DataRoot, "wait")
	e.reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := e.reaper.StdinPipe(); err != nil {
		return err
	}
	if err := e.reaper.Start(); err != nil {
		e.reaper = nil
		return err
	}
	return nil
}

// CLI runs the docker command on this engine and returns its standard output, without white space around it. It asks for a
// pause again while runc answers "unable to freeze", as it does now and then on a busy machine.
func (e *Engine) CLI(args ...string) (string, error) {
	if len(args) == 0 || args[0] != "pause" {
		return e.cli(nil, args...)
	}
	var said []string
	for _, name := range args[1:] {
		out, err := e.pause(name)
		if err != nil {
			return "", err
		}
		said = append(said, out)
	}
	return strings.Join(said, "\n"), nil
}

func (e *Engine) pause(name string) (string, error) {
	for end := time.Now().Add(cliLimit); ; {
		out, err := e.cli(nil, "pause", name)
		if err == nil || !strings.Contains(err.Error(), "unable to freeze") || time.Now().After(end) {
			return out, err
		}
	}
}

func (e *Engine) cli(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cliLimit*Slow())
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host, "DOCKER_CONFIG="+e.Dir, "DOCKER_CONTEXT=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Docker is CLI for tests: a failure ends the test.
func (e *Engine) Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.CLI(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logTail is the end of dockerd's log, for messages.
func (e *Engine) logTail() string {
	b, err := os.ReadFile(filepath.Join(e.Dir, "dockerd.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
