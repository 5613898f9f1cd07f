package command_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/internal/command"
)

func sh(script string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", script, "sh"}, args...)
}

func TestRunPassesArgumentsAsTheyAre(t *testing.T) {
	args := []string{"two words", "", "-rf", "$HOME", "a;b", "new\nline", "*", "ü"}
	out, err := command.Run(t.Context(), command.Cmd{Argv: append([]string{"printf", `%s\0`}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out.Stdout), "\x00"), "\x00")
	if diff := cmp.Diff(args, got); diff != "" {
		t.Error(diff)
	}
	if out.Took <= 0 {
		t.Error("Took is not measured")
	}
}

func TestRunOfAProgramWithASpaceInItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\npwd\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "with space")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := command.Run(t.Context(), command.Cmd{Argv: []string{path}, Dir: dir})
	if got := strings.TrimSuffix(string(out.Stdout), "\n"); err != nil || got != dir {
		t.Errorf("%q, %v; want %q", got, err, dir)
	}
}

func TestRunEnvironment(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("KEPT", "kept")
	out, err := command.Run(t.Context(), command.Cmd{
		Argv: sh(`echo "$LC_ALL $KEPT $ADDED"`),
		Env:  []string{"ADDED=a b", "LC_ALL=fr_FR"},
	})
	if got := string(out.Stdout); err != nil || got != "C kept a b\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRunStreams(t *testing.T) {
	var stdout, stderr bytes.Buffer
	out, err := command.Run(t.Context(), command.Cmd{
		Argv:  sh(`cat; echo warning >&2`),
		Stdin: strings.NewReader("given"), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{stdout.String(), stderr.String(), string(out.Stdout), out.Stderr}
	if diff := cmp.Diff([]string{"given", "warning\n", "", "warning\n"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunWritesToAFileDirectly(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := command.Run(t.Context(), command.Cmd{Argv: sh(`readlink /proc/self/fd/1`), Stdout: file}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file.Name())
	if err != nil || strings.TrimSpace(string(got)) != file.Name() {
		t.Errorf("stdout was %q, %v", got, err)
	}
}

func TestRunErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		argv   []string
		want   command.Error
		is     error
		saying string
	}{
		{
			"exit status", sh(`echo "ERROR: not a btrfs filesystem: $1" >&2; exit 3`, "/a b"),
			command.Error{Exit: 3, Stderr: "ERROR: not a btrfs filesystem: /a b\n"},
			nil,
			`exit status 3: ERROR: not a btrfs filesystem: /a b`,
		},
		{"signal", sh(`kill -SEGV $$`), command.Error{Exit: -1, Signal: syscall.SIGSEGV}, nil, `ended by signal 11`},
		{"status 137 is no signal", sh(`exit 137`), command.Error{Exit: 137}, nil, `exit status 137`},
		{
			"missing",
			[]string{"volsnap-no-such-program", "x"},
			command.Error{Exit: -1},
			command.ErrNotFound, "volsnap-no-such-program x: executable file not found in $PATH",
		},
		{"missing path", []string{"/nowhere/to be found"}, command.Error{Exit: -1}, command.ErrNotFound, `"/nowhere/to be found": `},
		{"not executable", []string{"/etc/passwd"}, command.Error{Exit: -1}, os.ErrPermission, "/etc/passwd: "},
		{"no argv", nil, command.Error{Exit: -1}, nil, "no program is named"},
		{"empty program", []string{""}, command.Error{Exit: -1}, nil, "no program is named"},
		{"zero byte", []string{"echo", "a\x00b"}, command.Error{Exit: -1}, nil, "zero byte"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := command.Run(t.Context(), command.Cmd{Argv: test.argv})
			var got *command.Error
			if !errors.As(err, &got) {
				t.Fatalf("%v is no *Error", err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v does not wrap %v", err, test.is)
			}
			if !strings.Contains(err.Error(), test.saying) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("text is %q, want one line with %q", err, test.saying)
			}
			test.want.Argv = test.argv
			test.want.Err = got.Err
			if diff := cmp.Diff(test.want, *got, cmp.Comparer(errors.Is)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRunHugeStderrKeepsBothEnds(t *testing.T) {
	out, err := command.Run(t.Context(), command.Cmd{
		Argv: sh(`echo first >&2; head -c 8000000 /dev/zero | tr '\0' 'x' >&2; echo last >&2; exit 1`),
	})
	var e *command.Error
	if !errors.As(err, &e) || e.Exit != 1 {
		t.Fatal(err)
	}
	if len(e.Stderr) > 33<<10 || !strings.HasPrefix(e.Stderr, "first\n") || !strings.HasSuffix(e.Stderr, "last\n") {
		t.Errorf("%d bytes, %.20q … %.20q", len(e.Stderr), e.Stderr, e.Stderr[len(e.Stderr)-20:])
	}
	if !strings.Contains(e.Stderr, "bytes left out") || out.Stderr != e.Stderr {
		t.Error("the gap is not marked, or Output differs from Error")
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the text has %d bytes", len(err.Error()))
	}
}

func TestRunHugeStdout(t *testing.T) {
	all := command.Cmd{Argv: []string{"head", "-c", strconv.Itoa(command.MaxStdout), "/dev/zero"}}
	out, err := command.Run(t.Context(), all)
	if err != nil || len(out.Stdout) != command.MaxStdout {
		t.Errorf("%d bytes, %v", len(out.Stdout), err)
	}
	over := command.Cmd{Argv: []string{"cat", "/dev/zero"}}
	if _, err := command.Run(t.Context(), over); !errors.Is(err, command.ErrTooLong) {
		t.Errorf("%v, want ErrTooLong", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestRunReportsTheWriterThatFailed(t *testing.T) {
	_, err := command.Run(t.Context(), command.Cmd{Argv: []string{"cat", "/dev/zero"}, Stdout: fullDisk{}})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want ENOSPC", err)
	}
}

func TestRunReportsTheReaderThatFailed(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("some"), failing{})
	_, err := command.Run(t.Context(), command.Cmd{Argv: []string{"cat"}, Stdin: broken})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, want EIO", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, syscall.EIO }

func TestRunLogsTheCommand(t *testing.T) {
	var log bytes.Buffer
	ctx := zerolog.New(&log).Level(zerolog.DebugLevel).WithContext(t.Context())
	if _, err := command.Run(ctx, command.Cmd{Argv: []string{"true", "a b"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"level":"debug"`, `"argv":["true","a b"]`, `"took":`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in %s", want, log.String())
		}
	}
}

func TestRunInAnEndedContextStartsNothing(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := command.Run(ctx, command.Cmd{Argv: []string{"touch", mark}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	if _, err := os.Lstat(mark); err == nil {
		t.Error("it ran")
	}
}

func TestRunOfADaemonThatHoldsThePipe(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	_, err := command.Run(t.Context(), command.Cmd{Argv: sh(`sleep 30 & echo started`)})
	var e *command.Error
	if !errors.As(err, &e) || e.Err == nil {
		t.Errorf("%v: output that may be incomplete passed for whole", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	// A daemon that closes its streams is left alone.
	out, err := command.Run(t.Context(), command.Cmd{Argv: sh(`sleep 30 >/dev/null 2>&1 & echo $!`)})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a b", "\xff\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		e := &command.Error{Argv: []string{a, b}, Exit: 1, Stderr: b}
		if s := e.Error(); strings.ContainsAny(s, "\n\r\x00\x1b") || len(s) > 1000 {
			t.Errorf("%q", s)
		}
	})
}
