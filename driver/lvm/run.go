package lvm

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/command"
)

const program = "lvm"

// quick is the configuration of what is done while writers are frozen: no copy of the metadata is kept below /etc/lvm (the
// seal keeps one a moment later), dmeventd is not told (what it monitors is the pool, which stays), nor is D-Bus.
const quick = "backup{archive=0 backup=0} activation{monitoring=0} global{notify_dbus=0}"

// environment: LVM warns of each file descriptor that it inherits (lvm(8)), and its shell keeps a history of commands in
// the home directory, and warns of a terminal that it does not know ("unknown" below sudo(8) without one), which would be taken for a
// failure.
func environment() []string {
	return []string{"LVM_SUPPRESS_FD_WARNINGS=1", "HOME=/dev/null", "TERM=dumb"}
}

// ask runs a command that changes nothing.
func ask(ctx context.Context, args ...string) ([]byte, error) {
	out, err := command.Run(ctx, command.Cmd{Argv: append([]string{program}, args...), Env: environment()})
	return out.Stdout, classify(err)
}

// change runs a command that changes something. It is not begun when ctx has ended, and not ended by it: see the package
// comment.
func change(ctx context.Context, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := command.Run(context.WithoutCancel(ctx), command.Cmd{
		Argv: append([]string{program}, args...), Env: environment(),
	})
	return classify(err)
}

// shell runs lines in one process, each when the one before has ended, and none any more once ctx has ended. Whether
// they did what they should the caller has to find out: LVM's shell does not say.
func shell(ctx context.Context, lines ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := newScript(lines)
	stdin, feed, err := os.Pipe() // of our own: os/exec would wait for a reader, also when LVM was killed
	if err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return s.feed(feeding, feed) })
	out, err := command.Run(context.WithoutCancel(ctx), command.Cmd{
		Argv: []string{program}, Env: environment(), Stdin: stdin, Stdout: s,
	})
	stop()
	err = errors.Join(err, stdin.Close(), g.Wait())
	switch {
	case ctx.Err() != nil:
		return errors.Join(ctx.Err(), err)
	case err != nil:
		return classify(err)
	}
	return complaint(out.Stderr)
}

// complaint is what the lines of a shell said went wrong.
func complaint(stderr string) error {
	var said []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "WARNING:") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return nil
	}
	return classify(&command.Error{Argv: []string{program}, Exit: -1, Stderr: strings.Join(said, "\n")})
}

// resume resumes a device; one that is not suspended stays as it is (dmsetup(8)).
func resume(ctx context.Context, device string) error {
	_, err := command.Run(context.WithoutCancel(ctx), command.Cmd{Argv: []string{"dmsetup", "resume", device}})
	return err
}
