package testhost

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const orphanEnv = "VOLSNAP_TEST_ORPHAN"

// TestMain can also be a process that starts something, prints its directory, and waits to be killed.
func TestMain(m *testing.M) {
	orphans := map[string]func() (dir string, err error){"engine": orphanEngine, "pool": orphanPool}
	start := orphans[os.Getenv(orphanEnv)]
	if start == nil {
		os.Exit(m.Run())
	}
	dir, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(dir)
	_ = syscall.Pause() // returns when a signal has come, and that one kills
}

// orphanEngine has a paused container.
func orphanEngine() (dir string, err error) {
	e, err := NewEngine("")
	if err != nil {
		return "", err
	}
	if _, err := e.StartContainer("orphan", RunOptions{}); err != nil {
		return "", err
	}
	_, err = e.CLI("pause", "orphan")
	return e.Dir, err
}

// orphanPool has something mounted in it.
func orphanPool() (dir string, err error) {
	kind, err := Storage()
	if err != nil {
		return "", err
	}
	p, _, err := NewPool(kind, 512<<20)
	if err != nil {
		return "", err
	}
	return p.Dir, syscall.Mount("/proc", p.Top, "", syscall.MS_BIND, "")
}

// Orphan starts something in a process of its own, kills the process, and returns the directory of what it had started.
func Orphan(t *testing.T, what string) (dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphanEnv+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return strings.TrimSpace(line)
}
