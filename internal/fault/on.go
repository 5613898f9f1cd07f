//go:build faultpoints

package fault

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	passed atomic.Int64
	named  atomic.Bool
)

// Point does what the environment says, see the package comment.
func Point(name string) {
	if len(os.Args) > 1 && strings.Contains(strings.Join(os.Args, " "), "dead-man") {
		return
	}
	n := passed.Add(1)
	if path := os.Getenv("VOLSNAP_FAULT_LOG"); path != "" {
		if f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = fmt.Fprintf(f, "%d %s\n", n, name)
			_ = f.Close()
		}
	}
	mode, at, ok := strings.Cut(os.Getenv("VOLSNAP_FAULT"), "@")
	here := at == strconv.FormatInt(n, 10) || at == name && named.CompareAndSwap(false, true)
	if !ok || !here {
		return
	}
	switch mode {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "term":
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	case "panic":
		panic("fault point " + name)
	case "hang":
		select {}
	case "stop":
		stop()
	}
}

// stop does not return before the process was stopped and continued. The signal goes to this very thread: one for the process
// may wait for another thread to get a processor, and this one would go on meanwhile.
func stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
}
