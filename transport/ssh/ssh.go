// Package ssh connects to `volsnap serve` on another host by OpenSSH's client, so that the operator's own configuration, agent,
// jump hosts and hardware keys work.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/volsnap/volsnap/internal/command"
)

// Host is whom to connect to.
type Host struct {
	Destination string // as ssh(1) takes it: user@host, a Host of its configuration, or ssh://user@host:port
	Identity    string // file of the private key; empty: what ssh would use by itself
	Client      string // whose replicas are meant, where the key has no forced command that says so; a word of letters, digits, ".", "_" and "-"
}

// remote is what is asked for. On the backup server the key's forced command takes its place (sshd(8), AUTHORIZED_KEYS).
const remote = "volsnap serve"

// argv has what an unattended connection needs (ssh_config(5)): it asks nobody, ends when the other side is gone, and shares
// no connection with a terminal of the operator's.
func (h Host) argv() []string {
	argv := []string{
		"ssh", "-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
		"-o", "ClearAllForwardings=yes", "-o", "ControlPath=none", "-o", "ConnectTimeout=30", "-o", "Compression=no",
	}
	if h.Identity != "" {
		argv = append(argv, "-i", h.Identity, "-o", "IdentitiesOnly=yes")
	}
	argv = append(argv, "--", h.Destination, remote)
	if h.Client != "" {
		argv = append(argv, "--client", h.Client)
	}
	return argv
}

const patience = 5 * time.Second

// Dial starts ssh. That it cannot connect is said by the first Read, and by Close.
func (h Host) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	stdin, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), to.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &conn{host: h, to: to, from: from, cancel: cancel, done: make(chan struct{})}
	go func() {
		_, err := command.Run(ctx, command.Cmd{Argv: h.argv(), Stdin: stdin, Stdout: stdout})
		c.err = errors.Join(err, stdin.Close(), stdout.Close())
		close(c.done)
	}()
	return c, nil
}

// conn is the standard input and output of a running ssh.
type conn struct {
	host     Host
	to, from *os.File
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // of ssh, once done is closed
	once     sync.Once
	closed   error
}

// Read ends with what ssh said, if it failed.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	<-c.done
	if c.err != nil {
		return 0, c.failed()
	}
	return 0, io.EOF
}

func (c *conn) Write(p []byte) (int, error) { return c.to.Write(p) }

// failed leaves out the command line: what matters is what ssh, or the other side, said.
func (c *conn) failed() error {
	var e *command.Error
	if errors.As(c.err, &e) && e.Err == nil && strings.TrimSpace(e.Stderr) != "" {
		said := strings.Join(strings.FieldsFunc(e.Stderr, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
		return fmt.Errorf("ssh %s: exit status %d: %s", c.host.Destination, e.Exit, said)
	}
	return fmt.Errorf("ssh %s: %w", c.host.Destination, c.err)
}

// Close lets the other side go, and ssh with it; who does not go in a while is ended.
func (c *conn) Close() error {
	c.once.Do(func() {
		_ = c.to.Close() // the other side sees the end
		timer := time.AfterFunc(patience, c.cancel)
		<-c.done
		timer.Stop()
		c.cancel()
		c.closed = c.from.Close()
	})
	return c.closed
}
