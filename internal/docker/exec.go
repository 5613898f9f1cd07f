package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/volsnap/volsnap/internal/fault"
)

// outputLimit is how much of each stream Exec keeps.
const outputLimit = 1 << 20

// ExecOptions say how Exec runs a command.
type ExecOptions struct {
	User  string   // name or number in the container; the container's own when empty
	Env   []string // "NAME=value", added to the container's
	Stdin string
}

// ExecResult is what a command left. Stdout and Stderr hold the first MiB; Truncated: there was more.
type ExecResult struct {
	Stdout, Stderr string
	Truncated      bool
	Exit           int // 126 and 127: the engine could not start it, and Stdout says why
}

// Exec runs a command without a shell or terminal in a running container and waits for its end. That it ended with
// another status than 0 is no error.
//
// If the context ends first, the command is killed with all its descendants and the error wraps the context's; what it
// had printed is returned. The error says so when the command could not be killed, or not be seen to end: in a container
// that was paused meanwhile it ends with the thaw. ErrPaused, ErrNotRunning, ErrRestarting, ErrNotFound: nothing was run.
// Where the engine went away, the command may still run.
func (c *Client) Exec(ctx context.Context, id string, argv []string, opts ExecOptions) (ExecResult, error) {
	if len(argv) == 0 || argv[0] == "" {
		return ExecResult{}, fmt.Errorf("exec in container %s: no command", id)
	}
	what := fmt.Sprintf("exec %s in container %s", argv[0], id)
	fault.Point("before exec")
	defer fault.Point("after exec")
	begun := time.Now()
	e, err := c.api.ContainerExecCreate(ctx, id, container.ExecOptions{
		User: opts.User, Env: opts.Env, Cmd: argv, AttachStdin: opts.Stdin != "", AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return ExecResult{}, wrap(what, err)
	}
	r, err := c.follow(ctx, id, e.ID, opts.Stdin)
	if err == nil {
		return r, nil
	}
	if ctx.Err() == nil {
		return r, wrap(what, err)
	}
	took := time.Since(begun).Round(time.Millisecond)
	if err := c.killExec(context.WithoutCancel(ctx), e.ID); err != nil {
		return r, fmt.Errorf("%s: given up after %s: %w; it may still run: %w", what, took, ctx.Err(), err)
	}
	return r, fmt.Errorf("%s: given up after %s, killed: %w", what, took, ctx.Err())
}

// follow starts the command, reads it to its end and asks for its exit status.
func (c *Client) follow(ctx context.Context, id, execID, stdin string) (ExecResult, error) {
	var stdout, stderr bounded
	err := c.attach(ctx, execID, stdin, &stdout, &stderr)
	r := ExecResult{Stdout: stdout.String(), Stderr: stderr.String(), Truncated: stdout.cut || stderr.cut}
	if err != nil {
		return r, c.refused(ctx, id, err)
	}
	r.Exit, err = c.exitStatus(ctx, execID)
	return r, err
}

// attach starts the command and copies its streams until they end. The client's own attach heeds the context only while
// it dials, so the connection is closed under it when the context ends.
func (c *Client) attach(ctx context.Context, execID, stdin string, stdout, stderr io.Writer) error {
	stop := func() bool { return true }
	dialed := func(conn net.Conn) {
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
	conn, err := c.api.ContainerExecAttach(context.WithValue(ctx, dialedKey{}, dialed), execID, container.ExecAttachOptions{})
	defer func() { stop() }()
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if stdin != "" {
			_, _ = io.WriteString(conn.Conn, stdin) // a command need not read it
			_ = conn.CloseWrite()
		}
	}()
	_, err = stdcopy.StdCopy(stdout, stderr, conn.Reader)
	conn.Close()
	<-fed
	return err
}

// refused finds out why the engine did not start the command: the client drops its words and keeps "received 409".
func (c *Client) refused(ctx context.Context, id string, err error) error {
	if !strings.Contains(err.Error(), "received ") || ctx.Err() != nil {
		return err
	}
	now, inspectErr := c.Inspect(ctx, id)
	switch {
	case inspectErr != nil:
		return errors.Join(err, inspectErr)
	case now.Paused:
		return fmt.Errorf("%w: %w", ErrPaused, err)
	case now.Restarting:
		return fmt.Errorf("%w: %w", ErrRestarting, err)
	case !now.Running:
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return err
}

// exitStatus waits until the command has ended: its streams end a moment earlier, or much earlier if it closed them.
func (c *Client) exitStatus(ctx context.Context, execID string) (int, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		s, err := c.api.ContainerExecInspect(ctx, execID)
		if err != nil {
			return 0, err
		}
		if !s.Running {
			return s.ExitCode, nil
		}
		if err := wait(ctx, pause); err != nil {
			return 0, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bounded keeps the first outputLimit bytes and takes the rest without complaint, so that the command is not stopped by it.
type bounded struct {
	bytes.Buffer
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := p
	if room := outputLimit - b.Len(); len(p) > room {
		keep, b.cut = p[:room], true
	}
	b.Buffer.Write(keep)
	return len(p), nil
}
