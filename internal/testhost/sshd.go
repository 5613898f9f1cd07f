package testhost

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PartSSH is OpenSSH's server and client.
const PartSSH = "ssh"

// SSHD is an OpenSSH server of a test's own on a free port of 127.0.0.1, with one key that may log in as root and does nothing
// but one command.
type SSHD struct {
	Dir      string // the test's: keys, the log, and bin, which has an ssh that knows this server's key
	Port     int
	Identity string // file of the private key that may log in

	held *os.File // the port's
	cmd  *exec.Cmd
	done chan struct{}
}

// HaveSSH tells why there can be no SSHD on this host, if so.
func HaveSSH() error {
	for _, name := range []string{"ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	_, err := os.Stat(sshdPath)
	return err
}

const sshdPath = "/usr/sbin/sshd" // it wants to be started by its absolute path

// StartSSHD starts a server whose key does the forced command, and ends it with the test.
func StartSSHD(t testing.TB, dir, command string) *SSHD {
	t.Helper()
	Require(t, PartSSH, HaveSSH())
	s, err := NewSSHD(dir, command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewSSHD starts a server whose key does the forced command, with all that it needs in a directory that is there, and
// further lines of sshd_config(5). Whoever called it calls Close.
func NewSSHD(dir, command string, config ...string) (*SSHD, error) {
	s := &SSHD{Dir: dir, Identity: filepath.Join(dir, "id"), done: make(chan struct{})}
	if err := s.write(command, config); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Destination is how ssh(1) is told of the server.
func (s *SSHD) Destination() string { return fmt.Sprintf("ssh://root@127.0.0.1:%d", s.Port) }

// Env makes whoever runs "ssh" know the server's key. All else is the host's own ssh.
func (s *SSHD) Env() string {
	return "PATH=" + filepath.Join(s.Dir, "bin") + ":" + os.Getenv("PATH")
}

func (s *SSHD) write(command string, config []string) error {
	var err error
	if s.Port, s.held, err = freePort(); err != nil {
		return err
	}
	hostKey := filepath.Join(s.Dir, "host")
	for _, key := range []string{hostKey, s.Identity} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	known, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return err
	}
	mine, err := os.ReadFile(s.Identity + ".pub")
	if err != nil {
		return err
	}
	client, err := exec.LookPath("ssh")
	if err != nil {
		return err
	}
	quoted := strings.ReplaceAll(strings.ReplaceAll(command, `\`, `\\`), `"`, `\"`)
	knownHosts := filepath.Join(s.Dir, "known_hosts")
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s -F none -o UserKnownHostsFile=%s -o GlobalKnownHostsFile=none \"$@\"\n", client, knownHosts)
	return errors.Join(
		os.MkdirAll(filepath.Join(s.Dir, "bin"), 0o755), os.MkdirAll("/run/sshd", 0o755), // privilege separation
		os.WriteFile(filepath.Join(s.Dir, "authorized_keys"), fmt.Appendf(nil, "command=\"%s\",restrict %s", quoted, mine), 0o600),
		os.WriteFile(knownHosts, fmt.Appendf(nil, "[127.0.0.1]:%d %s", s.Port, known), 0o600),
		os.WriteFile(filepath.Join(s.Dir, "bin", "ssh"), []byte(wrapper), 0o755),
		os.WriteFile(filepath.Join(s.Dir, "config"), fmt.Appendf(nil, `ListenAddress 127.0.0.1
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin forced-commands-only
MaxStartups 100
%s
`, s.Port, hostKey, filepath.Join(s.Dir, "authorized_keys"), strings.Join(config, "\n")), 0o600),
	)
}

// freePort finds a port that nobody listens on, and keeps it from other tests until held is closed: two that are given the same one
// would both find a server there, and one of them another's. It is none of those that the kernel gives to connections
// (ip(7), ip_local_port_range).
func freePort() (port int, held *os.File, err error) {
	for range 200 {
		port = 20000 + rand.IntN(12000)
		held, err = os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("volsnap-test-port-%d", port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, nil, err
		}
		if err = syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			var l net.Listener
			if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				return port, held, l.Close()
			}
		}
		_ = held.Close() // somebody else has it
	}
	return 0, nil, fmt.Errorf("find a free port: %w", err)
}

func (s *SSHD) start() error {
	s.cmd = exec.Command(sshdPath, "-D", "-f", filepath.Join(s.Dir, "config"), "-E", filepath.Join(s.Dir, "log"))
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its log
		close(s.done)
	}()
	err := await(s.done, func() error {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		s.Close()
		log, _ := os.ReadFile(filepath.Join(s.Dir, "log")) // what there is of it
		return fmt.Errorf("start sshd: %w: %s", err, log)
	}
	return nil
}

// Cut kills the connections that there are; the server listens on.
func (s *SSHD) Cut() error {
	out, err := exec.Command("pkill", "-KILL", "-P", fmt.Sprint(s.cmd.Process.Pid)).CombinedOutput()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 1 { // there was none
		return nil
	}
	if err != nil {
		return fmt.Errorf("pkill: %w: %s", err, out)
	}
	return nil
}

// PID is the server's process, whose children are the connections.
func (s *SSHD) PID() int { return s.cmd.Process.Pid }

// Rest returns once there is no connection any more.
func (s *SSHD) Rest() error {
	return await(s.done, func() error {
		out, err := exec.Command("pgrep", "-P", fmt.Sprint(s.PID())).Output()
		var ended *exec.ExitError
		switch {
		case errors.As(err, &ended) && ended.ExitCode() == 1: // there is none
			return nil
		case err != nil:
			return fmt.Errorf("pgrep: %w", err)
		}
		return fmt.Errorf("still at work: %q", strings.Fields(string(out)))
	})
}

// Logins counts the connections that were let in, and the commands that were started on them, with "LogLevel VERBOSE".
func (s *SSHD) Logins() (connections, commands int, err error) {
	log, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	return strings.Count(string(log), "Accepted publickey for "), strings.Count(string(log), "Starting session: "), err
}

// Peak is how many bytes of memory the server took after Close, or whatever process of its connections took the most, if that had
// ended by then (see Rest).
func (s *SSHD) Peak() int64 {
	if s.cmd.ProcessState == nil {
		return 0
	}
	used, ok := s.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return used.Maxrss << 10
}

// Close ends the server. Connections that there are go on.
func (s *SSHD) Close() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
	_ = os.Remove(s.held.Name()) // one that stays means nothing
	_ = s.held.Close()
}
