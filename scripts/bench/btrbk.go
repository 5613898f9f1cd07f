package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

func (onBtrfs) place(_ context.Context, p *testhost.Pool) (string, error) {
	at := filepath.Join(p.Top, "replicas")
	return "btrfs:" + at, os.Mkdir(at, 0o700)
}

// mirror is btrbk. It keeps everything, as volsnap's target does.
func (onBtrfs) mirror(_ context.Context, s *store, to *testhost.Pool, server *testhost.SSHD) (mirror, error) {
	const snapshots = "btrbk"
	target := filepath.Join(to.Top, "btrbk")
	conf := fmt.Sprintf("timestamp_format long-iso\nlockfile %s\nssh_identity %s\nvolume %s\n  snapshot_dir %s\n  target ssh://127.0.0.1:%d%s\n",
		filepath.Join(s.dir, "mirror.lock"), server.Identity, s.pool.Top, snapshots, server.Port, target)
	for _, at := range s.paths {
		conf += "  subvolume " + filepath.Base(at) + "\n"
	}
	file := filepath.Join(s.dir, "mirror.conf")
	err := errors.Join(os.MkdirAll(filepath.Join(s.pool.Top, snapshots), 0o700), os.MkdirAll(target, 0o700), os.WriteFile(file, []byte(conf), 0o600))
	btrbk := func(args ...string) []string { return append([]string{"btrbk", "-c", file, "-q"}, args...) }
	return mirror{
		program:  program{name: "`btrbk resume --preserve`", argv: btrbk("--preserve", "resume"), env: []string{server.Env()}},
		snapshot: func(ctx context.Context) error { return runOnly(ctx, btrbk("--preserve", "snapshot")...) },
		arrived: func(context.Context) (int, error) {
			found, err := os.ReadDir(target)
			return len(found), err
		},
	}, err
}

// sendFormat is that of volsnap where the kernel has it; btrfs-progs have it since 6.0.
func sendFormat() string {
	version, err := os.ReadFile("/sys/fs/btrfs/features/send_stream_version")
	if err != nil || strings.TrimSpace(string(version)) == "1" {
		return ""
	}
	return " --proto 2 --compressed-data"
}

// pipe receives each snapshot in a directory of its own: they have the same name.
func (onBtrfs) pipe(k int, one driver.Snapshot, base *driver.Snapshot, to *testhost.Pool, by string) (string, error) {
	dir := filepath.Join(to.Top, "raw", fmt.Sprint(k))
	send := "btrfs send -q" + sendFormat()
	if base != nil {
		send += " -p '" + base.Name + "'"
	}
	return fmt.Sprintf("%s '%s' | %s btrfs receive -q %s", send, one.Name, by, dir), os.MkdirAll(dir, 0o700)
}

func (onBtrfs) pipeName(ssh bool) string {
	if ssh {
		return fmt.Sprintf("`btrfs send%s \\| ssh btrfs receive`", sendFormat())
	}
	return fmt.Sprintf("`btrfs send%s \\| btrfs receive`", sendFormat())
}
