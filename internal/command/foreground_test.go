package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
)

// foreground runs the program that the arguments name as volsnap does: with SIGPIPE ignored, and signals that do not end it. It prints
// what Foreground says.
func foreground() int {
	if err := os.Unsetenv(inForegroundEnv); err != nil {
		return 1
	}
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := command.Foreground(ctx, command.Cmd{Argv: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	fmt.Printf("ended: %v\n", err)
	fmt.Printf("deaf to a pipe: %t\n", signal.Ignored(syscall.SIGPIPE))
	return 0
}

const inForegroundEnv = "VOLSNAP_TEST_FOREGROUND"

// inForeground is this test binary as that program.
func inForeground(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), inForegroundEnv+"=yes", "LC_ALL=C.UTF-8")
	return cmd
}

func TestForegroundIsTheCallers(t *testing.T) {
	cmd := inForeground(t, "sh", "-c", `read line; echo "$line, $LC_ALL, $FRUIT"; ps -o pgid= $$ $PPID | sort -u | wc -l; yes | head -n 1; echo aside >&2; exit 7`)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &stdout, &stderr
	cmd.Env = append(cmd.Env, "FRUIT=an apple")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(stdout.String()), " ")
	if !strings.HasPrefix(got, "hello, C.UTF-8, an apple 1 y ended: sh -c") || !strings.HasSuffix(got, "exit status 7 deaf to a pipe: true") {
		t.Errorf("%q", got)
	}
	if stderr.String() != "aside\n" { // no complaint of yes about its pipe
		t.Errorf("stderr %q", &stderr)
	}
}

func TestForegroundErrors(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		argv   []string
		exit   int
		signal syscall.Signal
		is     error
	}{
		{name: "status", argv: []string{"sh", "-c", "exit 3"}, exit: 3},
		{name: "killed", argv: []string{"sh", "-c", "kill -9 $$"}, exit: -1, signal: syscall.SIGKILL},
		{name: "no such program", argv: []string{"no-such-program"}, exit: -1, is: command.ErrNotFound},
		{name: "no such file", argv: []string{"/nonexistent/program"}, exit: -1, is: command.ErrNotFound},
		{name: "a directory", argv: []string{"/"}, exit: -1},
		{name: "nothing", argv: nil, exit: -1},
		{name: "interrupted before", ctx: canceled, argv: []string{"touch", t.TempDir() + "/touched"}, exit: -1, is: context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			err := command.Foreground(tt.ctx, command.Cmd{Argv: tt.argv})
			var e *command.Error
			if !errors.As(err, &e) || e.Exit != tt.exit || e.Signal != tt.signal || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v: %+v", err, e)
			}
		})
	}
	if err := command.Foreground(t.Context(), command.Cmd{Argv: []string{"true"}}); err != nil {
		t.Error(err)
	}
}

// counting counts the signals that it gets, for a while after the first, and says so.
const counting = `n=0; trap 'n=$((n+1))' INT TERM HUP QUIT; echo ready; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; sleep 0.3; echo "had $n"`

// A signal to us alone reaches the program, and does not end us before it.
func TestForegroundPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := inForeground(t, "sh", "-c", counting)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			out := &watched{}
			cmd.Stdout = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out.await(t, "ready")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "had 1\nended: <nil>\n") {
				t.Errorf("%v: %q", err, out)
			}
		})
	}
}

// Ctrl-C and Ctrl-\ at a terminal reach both, and the program once.
func TestForegroundAtATerminal(t *testing.T) {
	for name, key := range map[string]string{"Ctrl-C": "\x03", "Ctrl-Backslash": "\x1c"} {
		t.Run(name, func(t *testing.T) {
			cmd := inForeground(t, "sh", "-c", "test -t 0 && test -t 1 && echo 'has it'; "+counting)
			term := testhost.StartAt(t, cmd)
			awaitText(t, term.Screen, "ready")
			term.Type(t, key)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			awaitText(t, term.Screen, "deaf")
			if got := strings.ReplaceAll(term.Screen(), "\r", ""); !strings.Contains(got, "has it\n") || !strings.Contains(got, "had 1\nended: <nil>\n") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestForegroundReadsTheTerminal(t *testing.T) {
	cmd := inForeground(t, "sh", "-c", `printf 'sure? '; read answer; echo "said $answer"`)
	term := testhost.StartAt(t, cmd)
	awaitText(t, term.Screen, "sure? ")
	term.Type(t, "yes\n")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	awaitText(t, term.Screen, "said yes")
}

func awaitText(t *testing.T, text func() string, want string) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	limit := time.After(20 * time.Second)
	for !strings.Contains(text(), want) {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("waited in vain for %q: %q", want, text())
		}
	}
}
