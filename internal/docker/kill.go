package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killLimit bounds the killing of a command; seen: a few milliseconds.
const killLimit = 3 * time.Second

// killExec kills a command and its descendants and waits until the engine has seen its end. The API has no call for it,
// but the command is a process of this host.
func (c *Client) killExec(ctx context.Context, execID string) error {
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		s, err := c.api.ContainerExecInspect(ctx, execID)
		if err != nil {
			return wrap("kill it", err)
		}
		if s.Running && s.Pid > 0 {
			if err := killTree(s.Pid, s.ContainerID); err != nil {
				return err
			}
		} else if !s.Running && s.Pid > 0 {
			return nil
		} // else the engine is just about to start it
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("wait for its end: %w", err)
		}
	}
}

// killTree kills a process of a container and its descendants. They are stopped first, all of them, so that none can
// start another that is then no longer to be recognized. Only processes in the container's control group are touched. In
// a frozen group the signals wait for the thaw.
func killTree(pid int, containerID string) error {
	held := map[int]int{} // pid to pidfd
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	if err := hold(held, pid, containerID); err != nil {
		return err
	}
	for more := true; more; {
		more = false
		parents, err := parents()
		if err != nil {
			return err
		}
		for child, parent := range parents {
			if _, ours := held[parent]; !ours {
				continue
			}
			if _, known := held[child]; known {
				continue
			}
			if err := hold(held, child, containerID); err != nil {
				return err
			}
			_, added := held[child]
			more = more || added
		}
	}
	var failed error
	for pid, fd := range held {
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = errors.Join(failed, fmt.Errorf("kill process %d: %w", pid, err))
		}
	}
	return failed
}

// hold stops a process and keeps a pidfd of it. A process that has ended, or whose number belongs to somebody outside the
// container by now, is left out. The group is read after the pidfd was opened, so both speak of the same process.
func hold(held map[int]int, pid int, containerID string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	if !inContainer(pid, containerID) {
		return unix.Close(fd)
	}
	err = unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return unix.Close(fd)
	}
	held[pid] = fd
	if err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	return nil
}

// inContainer looks for the id as an element of the process's control group: "/docker/ID" with cgroupfs,
// "/system.slice/docker-ID.scope" with systemd.
func inContainer(pid int, id string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	return err == nil && len(id) == 64 && strings.Contains(string(b), id)
}

// parents maps every process of this host to its parent.
func parents() (map[int]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	found := make(map[int]int, len(stats))
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "pid (comm) state ppid ...", and comm may hold anything: see proc(5).
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			found[pid] = parent
		}
	}
	return found, nil
}
