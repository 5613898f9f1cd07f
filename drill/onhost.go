package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
)

// onHost is a server by this host's own programs, in namespaces of its own: it sees no network, and no other process.
type onHost struct {
	db    database
	bin   string
	said  strings.Builder
	ended chan struct{}
	wait  sync.WaitGroup
	stops context.CancelFunc
}

// hostPrograms is where Debian has the programs of a major version.
const hostPrograms = "/usr/lib/postgresql"

var errNoPrograms = errors.New("no PostgreSQL of that major version is installed here, and no container of the app has one")

func newOnHost(db database) (*onHost, error) {
	bin := filepath.Join(hostPrograms, strconv.Itoa(db.major), "bin")
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return nil, fmt.Errorf("PostgreSQL %d: %w: install it", db.major, errNoPrograms)
	}
	return &onHost{db: db, bin: bin}, nil
}

// The data directory may lie where its owner may not look. So it is shown to the server, and to it alone, below /mnt.
const (
	hostData    = "/mnt/data"
	hostSockets = "/mnt/run"
	inPrivate   = `set -e
mount -t tmpfs -o mode=755 volsnap-drill /mnt
mkdir /mnt/data /mnt/run
chown "$2:$3" /mnt/run
mount --bind "$1" /mnt/data
uid=$2 gid=$3
shift 3
cd /mnt
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
`
)

func (s *onHost) where() string {
	return "by this host's programs"
}
func (s *onHost) socketDir() string { return hostSockets }

// alone is a program in namespaces of its own, as the owner of the data directory.
func (s *onHost) alone(argv ...string) []string {
	return append([]string{
		"unshare", "--net", "--ipc", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", inPrivate, "sh", s.db.dir, strconv.Itoa(s.db.uid), strconv.Itoa(s.db.gid),
	}, argv...)
}

func (s *onHost) begin(ctx context.Context, settings []string) (<-chan struct{}, error) {
	if err := s.ownSettings(); err != nil {
		return nil, err
	}
	ctx, s.stops = context.WithCancel(ctx)
	s.ended = make(chan struct{})
	argv := s.alone(append([]string{filepath.Join(s.bin, "postgres"), "-D", hostData}, settings...)...)
	fault.Point("before start of a server")
	s.wait.Go(func() {
		defer close(s.ended)
		if out, err := command.Run(ctx, command.Cmd{Argv: argv, Dir: "/"}); err != nil {
			s.said.WriteString(out.Stderr + "\n" + err.Error())
		} else {
			s.said.WriteString(out.Stderr)
		}
	})
	return s.ended, nil
}

// ownSettings makes an empty file of settings where there is none: Debian has it elsewhere.
func (s *onHost) ownSettings() error {
	root, err := os.OpenRoot(s.db.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile("postgresql.conf", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(s.db.uid, s.db.gid), f.Close())
}

func (s *onHost) client(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	dir, err := s.hostSocketDir(ctx)
	if err != nil {
		return 0, "", err
	}
	argv = append([]string{filepath.Join(s.bin, argv[0])}, argv[1:]...)
	for i, arg := range argv {
		if arg == "--host="+hostSockets {
			argv[i] = "--host=" + dir
		}
	}
	return hostClient(ctx, argv, stdout)
}

// hostClient runs a client program of this host.
func hostClient(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	out, err := command.Run(ctx, command.Cmd{
		Argv: argv, Stdout: stdout, Dir: "/", Env: []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap-drill", "PGOPTIONS=", "PGSSLMODE=disable"},
	})
	return exitOf(out, err)
}

func exitOf(out command.Output, err error) (int, string, error) {
	var failed *command.Error
	switch {
	case err == nil:
		return 0, out.Stderr, nil
	case errors.Is(err, command.ErrNotFound):
		return 127, err.Error(), nil
	case errors.As(err, &failed) && failed.Exit > 0 && failed.Err == nil:
		return failed.Exit, out.Stderr, nil
	}
	return 0, out.Stderr, err
}

func (s *onHost) hostSocketDir(context.Context) (string, error) {
	pid, err := s.postmaster()
	return fmt.Sprintf("/proc/%d/root%s", pid, hostSockets), err
}

// postmaster is the server's first process, whose working directory is the data directory; its children have that too.
func (s *onHost) postmaster() (int, error) {
	pids, err := serversIn(s.db.dir)
	if err == nil && len(pids) == 0 {
		err = errEnded
	}
	for _, pid := range pids {
		if !slices.Contains(pids, parentOf(pid)) {
			return pid, err
		}
	}
	return 0, err
}

func (s *onHost) stop(ctx context.Context) error {
	defer func() {
		s.stops()
		s.wait.Wait()
	}()
	pid, err := s.postmaster()
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGINT); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the server: %w", ctx.Err())
	}
}

func (s *onHost) offline(ctx context.Context, argv []string) (int, string, error) {
	argv = append(append([]string{filepath.Join(s.bin, argv[0])}, argv[1:]...), hostData)
	out, err := command.Run(ctx, command.Cmd{Argv: s.alone(argv...), Dir: "/"})
	exit, stderr, err := exitOf(out, err)
	return exit, string(out.Stdout) + stderr, err
}

func (s *onHost) log(context.Context) string {
	select {
	case <-s.ended:
		return s.said.String()
	default:
		return ""
	}
}

// serversIn are the processes of PostgreSQL that work in a file system's directory, by its device and that of their own.
func serversIn(dir string) ([]int, error) {
	var top, above unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		return nil, err
	}
	if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
		return nil, err
	}
	found, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, cwd := range found {
		var at unix.Stat_t
		if unix.Stat(cwd, &at) != nil || at.Dev != top.Dev || !isServer(filepath.Dir(cwd)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(cwd))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func isServer(proc string) bool {
	name, err := os.ReadFile(filepath.Join(proc, "comm"))
	return err == nil && strings.TrimSpace(string(name)) == "postgres"
}

func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// endServers kills what a killed drill left running in a stage. A directory on which nothing is attached is no stage.
func endServers(ctx context.Context, top string) error {
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	for {
		var here, above unix.Stat_t
		if unix.Stat(top, &here) != nil || unix.Stat(filepath.Dir(top), &above) != nil || here.Dev == above.Dev {
			return nil
		}
		pids, err := serversIn(top)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, syscall.SIGKILL) // it is looked for again
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the servers in %s: %w", top, ctx.Err())
		case <-again.C:
		}
	}
}
