package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/volsnap/volsnap/internal/testhost"
)

// forks of strace(1) are the calls that start processes, as far as the machine has them; and threads, which are not counted.
const forks = "trace=?clone,?clone3,?fork,?vfork"

// forked is such a call that succeeded.
var forked = regexp.MustCompile(`(?m)^(?:clone3?|v?fork)\(.*\) += [1-9][0-9]*`)

// started counts the processes that one run of a program starts: here, itself among them, and those of the server's connections.
// It runs them under strace, which is slow and changes nothing else. Without strace both are -1.
func started(ctx context.Context, dir string, p program, server *testhost.SSHD) (here, there int, err error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return -1, -1, nil //nolint:nilerror // a column without numbers
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, 0, err
	}
	strace := func(to string, args ...string) []string {
		return append([]string{"strace", "-qq", "-ff", "-e", forks, "-e", "signal=none", "-o", filepath.Join(dir, to)}, args...)
	}
	far := commandOf(ctx, strace("there", "-p", fmt.Sprint(server.PID())), nil)
	if err := far.Start(); err != nil {
		return 0, 0, err
	}
	err = traced(ctx, server.PID())
	if err == nil {
		_, err = measure(ctx, strace("here", append([]string{"--"}, p.argv...)...), p.env...)
	}
	err = errors.Join(err, server.Rest(), far.Process.Signal(syscall.SIGINT))
	_ = far.Wait() // by the signal
	if err != nil {
		return 0, 0, err
	}
	here, err = countForks(dir, "here")
	if err != nil {
		return 0, 0, err
	}
	there, err = countForks(dir, "there")
	return 1 + here, there, err
}

// countForks reads what strace wrote, a file for each thread.
func countForks(dir, prefix string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, prefix+".*"))
	if err == nil && len(files) == 0 {
		err = errors.New("strace wrote nothing")
	}
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		if readErr != nil {
			return 0, errors.Join(err, readErr)
		}
		for _, call := range forked.FindAllString(string(text), -1) {
			if !strings.Contains(call, "CLONE_THREAD") {
				n++
			}
		}
	}
	return n, err
}

// traced waits until something traces the process.
func traced(ctx context.Context, pid int) error {
	limit := time.After(10 * time.Second * testhost.Slow())
	for {
		switch field(fmt.Sprintf("/proc/%d/status", pid), "TracerPid") {
		case "0":
		case "unknown":
			return fmt.Errorf("process %d has ended", pid)
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return errors.New("strace attaches to nothing")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
