package main

import (
	"context"
	"os"
	"os/exec"
)

// commandOf is a program whose own use of time and memory is to be known. What it says goes nowhere, but for its errors.
func commandOf(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), env...), "LC_ALL=C")
	cmd.Stderr = os.Stderr
	return cmd
}
