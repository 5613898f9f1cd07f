package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
)

// onHost is a server by this host's own programs, in a root and namespaces of its own: it sees no network, no other process, and of the
// files those of the clone and this host's programs.
type onHost struct {
	db       database
	private  string // the name of its root
	programs string // the directory of the programs, without symbolic links
	bin      string
	said     strings.Builder
	ended    chan struct{}
	wait     sync.WaitGroup
	stops    context.CancelFunc
}

// hostPrograms is where Debian has the programs of a major version.
const hostPrograms = "/usr/lib/postgresql"

var errNoPrograms = errors.New("no PostgreSQL of that major version is installed here, and no container of the app has one")

func newOnHost(db database, token string) (*onHost, error) {
	bin := programsOf(db.major)
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return nil, fmt.Errorf("PostgreSQL %d: %w: install it", db.major, errNoPrograms)
	}
	programs, err := filepath.EvalSymlinks(filepath.Dir(bin))
	return &onHost{db: db, private: privateName(token), programs: programs, bin: bin}, err
}

func programsOf(major int) string { return filepath.Join(hostPrograms, strconv.Itoa(major), "bin") }

func (s *onHost) where() string {
	return "by this host's programs"
}
func (s *onHost) socketDir() string { return hostSockets }

func (s *onHost) begin(ctx context.Context, settings []string) (<-chan struct{}, error) {
	if err := s.prepare(); err != nil {
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

// prepare lets the data directory be one in a root of its own.
func (s *onHost) prepare() error {
	root, err := os.OpenRoot(s.db.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for i, p := range s.db.parts {
		if err := errors.Join(root.Remove(p.name), root.Symlink(fmt.Sprintf("%s/%d", clonesAt, i+1), p.name)); err != nil {
			return err
		}
	}
	return s.ownSettings(root)
}

// ownSettings makes an empty file of settings where there is none: Debian has it elsewhere, others by a link.
func (s *onHost) ownSettings(root *os.Root) error {
	const name = "postgresql.conf"
	if info, err := root.Lstat(name); err == nil {
		if info.Mode().IsRegular() {
			return nil
		}
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(s.db.uid, s.db.gid), f.Close())
}

func (s *onHost) client(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	return s.hostClient(ctx, append([]string{filepath.Join(s.bin, argv[0])}, argv[1:]...), stdout)
}

func (s *onHost) hostClient(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	argv, err := s.beside(clientEnv, argv...)
	if err != nil {
		return 0, "", err
	}
	out, err := command.Run(ctx, command.Cmd{Argv: argv, Stdout: stdout, Dir: "/"})
	return exitOf(out, err)
}

// clientEnv is the environment of programs that ask a server.
var clientEnv = []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap-drill", "PGSSLMODE=disable"}

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

// postmaster is the server's first process.
func (s *onHost) postmaster() (int, error) {
	for _, pid := range privates(s.private) {
		if isFirst(pid) && isServer(pid) {
			return pid, nil
		}
	}
	return 0, errEnded
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
