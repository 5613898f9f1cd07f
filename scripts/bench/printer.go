package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
)

// printer writes results to out and progress to log. A measurement is not worth failing for what could not be printed.
type printer struct{ out, log io.Writer }

func (p printer) text(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

func (p printer) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(p.log, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// table prints rows as Markdown, with how busy the machine was.
func (p printer) table(title string, head []string, rows [][]string) {
	p.text("\n### %s\n", title)
	p.text("| %s |", strings.Join(head, " | "))
	p.text("|%s", strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		p.text("| %s |", strings.Join(row, " | "))
	}
	p.text("\nLoad average afterwards: %s.", load())
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], ", ")
}

// host prints what was measured on: of the programs those that are there.
func (p printer) host(ctx context.Context, args string) {
	p.text("`bench %s` on %s", args, time.Now().UTC().Format(time.DateOnly))
	p.text("- machine: %d × %s, %s of memory; load average before: %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"), load())
	if slow := testhost.Slow(); slow > 1 {
		p.text("- its processors are emulated, and taken for %d times slower than real ones", slow)
	}
	p.text("- Go: %s", runtime.Version())
	for _, v := range []struct {
		name string
		argv []string
	}{
		{"kernel", []string{"uname", "-sr"}},
		{"btrfs-progs", []string{"btrfs", "--version"}},
		{"ZFS", []string{"zfs", "--version"}},
		{"LVM", []string{"lvm", "version"}},
		{"Docker", []string{"docker", "--version"}},
		{"runc", []string{"runc", "--version"}},
		{"pgbench", []string{"pgbench", "--version"}},
		{"btrbk", []string{"btrbk", "--version"}},
		{"sanoid", []string{"sanoid", "--version"}},
		{"OpenSSH", []string{"sh", "-c", "ssh -V 2>&1"}},
	} {
		out, err := command.Run(ctx, command.Cmd{Argv: v.argv})
		line, _, _ := strings.Cut(strings.TrimSpace(string(out.Stdout)), "\n")
		if err == nil {
			p.text("- %s: %s", v.name, line)
		}
	}
	p.text("- volsnap: %s", revision(ctx))
}

// builtFrom is the revision, if the linker was told.
var builtFrom = ""

// revision is that of volsnap.
func revision(ctx context.Context) string {
	if builtFrom != "" {
		return builtFrom
	}
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"git", "describe", "--always", "--dirty"}})
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out.Stdout))
}

// field is the value of the first line of that name.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
