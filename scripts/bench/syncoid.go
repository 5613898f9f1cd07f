package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/testhost"
)

func (onZFS) place(ctx context.Context, p *testhost.Pool) (string, error) {
	at := p.Name + "/replicas"
	return "zfs:" + at, runOnly(ctx, "zfs", "create", "-o", "canmount=off", "-o", "mountpoint=none", at)
}

// sendOptions are those with which volsnap sends to a pool of the same version.
const sendOptions = "Lce"

// mirror is syncoid. It takes no snapshots, and sends those that there are. Its own progress and its warnings are off; it uses
// mbuffer and lzop where they are installed, as it always does.
func (onZFS) mirror(ctx context.Context, s *store, to *testhost.Pool, server *testhost.SSHD) (mirror, error) {
	target := to.Name + "/syncoid"
	argv := []string{
		"syncoid", "--quiet", "--no-sync-snap", "--recursive", "--skip-parent", "--sendoptions=" + sendOptions, "--recvoptions=u",
		fmt.Sprintf("--sshport=%d", server.Port), "--sshkey=" + server.Identity, s.pool.Name, "root@127.0.0.1:" + target,
	}
	return mirror{
		program: program{name: "`syncoid --no-sync-snap --recursive`", argv: argv, env: []string{server.Env()}},
		arrived: func(ctx context.Context) (int, error) {
			out, err := command.Run(ctx, command.Cmd{Argv: []string{"zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", target}})
			return strings.Count(string(out.Stdout), "\n"), err
		},
	}, runOnly(ctx, "zfs", "create", "-p", "-o", "canmount=off", "-o", "mountpoint=none", target)
}

func (onZFS) pipe(_ int, one driver.Snapshot, base *driver.Snapshot, to *testhost.Pool, by string) (string, error) {
	send := "zfs send -" + sendOptions
	if base != nil {
		send += " -i " + base.Name
	}
	return fmt.Sprintf("%s %s | %s zfs receive -u %s/raw", send, one.Name, by, to.Name), nil
}

func (onZFS) pipeName(ssh bool) string {
	if ssh {
		return "`zfs send -" + sendOptions + " \\| ssh zfs receive`"
	}
	return "`zfs send -" + sendOptions + " \\| zfs receive`"
}
