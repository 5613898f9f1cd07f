package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// daemon is a running dockerd.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process has ended
}

func startDaemon(log string, args []string) (*daemon, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	d := &daemon{cmd: exec.Command(dockerd(), args...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = f, f
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the tests, which then clean up
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in its log
		close(d.done)
	}()
	return d, nil
}

// dockerd is where Debian keeps it, or what PATH says.
func dockerd() string {
	if path, err := exec.LookPath("dockerd"); err == nil {
		return path
	}
	return "/usr/sbin/dockerd"
}

// await asks until the answer is no error, the daemon has ended, or engineReady has passed.
func (d *daemon) await(ask func() error) error { return await(d.done, ask) }

func await(ended <-chan struct{}, ask func() error) error {
	limit := time.After(engineReady * Slow())
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("it ended")
		case <-limit:
			return fmt.Errorf("after %s: %w", engineReady*Slow(), err)
		case <-again.C:
		}
	}
}

// awaitGone waits until the process has ended and its parent, perhaps init, has taken note.
func awaitGone(pid int) error {
	return await(nil, func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

// end sends the signal and waits; a daemon that does not end is killed, which is an error.
func (d *daemon) end(sig syscall.Signal) error {
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", filepath.Base(d.cmd.Path), err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(engineStop * Slow()):
		_ = d.cmd.Process.Kill()
		<-d.done
		return fmt.Errorf("stop dockerd: still there after %s, killed", engineStop*Slow())
	}
}
