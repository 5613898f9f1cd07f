package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

// commandOf is a program whose own use of time and memory is to be known. What it says goes nowhere, but for its errors. What it
// started ends with it when ctx does: the other end of a pipe keeps a pool busy.
func commandOf(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), env...), "LC_ALL=C")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}
