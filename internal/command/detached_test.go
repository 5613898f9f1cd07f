package command_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/command"
)

// TestMain lets the test binary play the process that starts a detached one and is then killed, and one that has a program in the
// foreground.
func TestMain(m *testing.M) {
	if os.Getenv(inForegroundEnv) != "" {
		os.Exit(foreground())
	}
	if pipe := os.Getenv("COMMAND_TEST_PARENT"); pipe != "" {
		os.Exit(parent(pipe))
	}
	os.Exit(m.Run())
}

func parent(report string) int {
	out, err := os.OpenFile(report, os.O_WRONLY, 0)
	if err != nil {
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 1
	}
	// It says who it is, and that its pipe broke.
	_, err = command.Detached(command.Cmd{Argv: sh(`echo $$; cat <&3; echo broken`), Stdout: out}, []*os.File{r})
	if err != nil {
		return 1
	}
	_ = unix.Pause() // until it is killed, which closes w
	return int(w.Fd())
}

func TestDetachedOutlivesASigkilledParent(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "report")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := command.Detached(command.Cmd{Argv: []string{exe}, Env: []string{"COMMAND_TEST_PARENT=" + fifo}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	file, err := os.OpenFile(fifo, os.O_RDWR, 0) // does not block, and never sees an end
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := file.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(file)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	pid, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	if sid := session(t, pid); sid != pid {
		t.Errorf("session %d, want its own, %d", sid, pid)
	}
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); err != nil { // with its process group
		t.Fatal(err)
	}
	var e *command.Error
	if err := p.Wait(); !errors.As(err, &e) || e.Signal != syscall.SIGKILL {
		t.Errorf("%v, want SIGKILL", err)
	}
	if !lines.Scan() || lines.Text() != "broken" {
		t.Errorf("%q, %v; want to hear of the broken pipe", lines.Text(), lines.Err())
	}
	waitDead(t, strconv.Itoa(pid))
}

// session is the session id of a process: the fourth field behind the name in its stat (proc(5)).
func session(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	sid, err := strconv.Atoi(strings.Fields(rest)[3])
	if err != nil {
		t.Fatal(err)
	}
	return sid
}

func TestDetachedStreams(t *testing.T) {
	stdinR, stdinW := pipe(t)
	stdoutR, stdoutW := pipe(t)
	extraR, extraW := pipe(t)
	p, err := command.Detached(command.Cmd{
		Argv:  sh(`read x; echo "$x $1 $LC_ALL $(pwd)"; echo "$x" >&3; exit 5`, "a b"),
		Stdin: stdinR, Stdout: stdoutW,
	}, []*os.File{extraW})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []*os.File{stdinR, stdoutW, extraW} {
		_ = file.Close()
	}
	if _, err := io.WriteString(stdinW, "hello\n"); err != nil {
		t.Fatal(err)
	}
	stdout, _ := io.ReadAll(stdoutR)
	extra, _ := io.ReadAll(extraR)
	if string(stdout) != "hello a b C /\n" || string(extra) != "hello\n" {
		t.Errorf("stdout %q, descriptor 3 %q", stdout, extra)
	}
	var e *command.Error
	if err := p.Wait(); !errors.As(err, &e) || e.Exit != 5 {
		t.Errorf("%v, want exit status 5", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func TestDetachedRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		cmd  command.Cmd
		want string
	}{
		{"no argv", command.Cmd{}, "no program is named"},
		{"missing", command.Cmd{Argv: []string{"volsnap-no-such-program"}}, "not found"},
		{"stdin in memory", command.Cmd{Argv: []string{"cat"}, Stdin: strings.NewReader("")}, "stdin of a detached program"},
		{"stdout in memory", command.Cmd{Argv: []string{"cat"}, Stdout: &bytes.Buffer{}}, "stdout of a detached program"},
		{"stderr in memory", command.Cmd{Argv: []string{"cat"}, Stderr: &bytes.Buffer{}}, "stderr of a detached program"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := command.Detached(test.cmd, nil)
			if p != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v; want %q", p, err, test.want)
			}
		})
	}
}

func TestKill(t *testing.T) {
	p, err := command.Detached(command.Cmd{Argv: []string{"sleep", "60"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	var e *command.Error
	if err := p.Wait(); !errors.As(err, &e) || e.Signal != syscall.SIGKILL {
		t.Errorf("%v, want SIGKILL", err)
	}
}
