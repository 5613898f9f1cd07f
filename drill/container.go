package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/docker"
)

// inContainer is a server in a container like the app's own.
type inContainer struct {
	trial *trial
	db    database
	like  docker.Template
	id    string
	data  string // the data directory as the container sees it
	ended chan struct{}
	wait  sync.WaitGroup
	stops context.CancelFunc // of the wait for its end
}

const (
	socketsAt = "/volsnap-drill"
	stopLimit = 2 * time.Minute // a fast shutdown writes a checkpoint
)

func newInContainer(ctx context.Context, t *trial, db database) (*inContainer, error) {
	like, err := t.drill.Docker.Template(ctx, db.like.ID)
	if err != nil {
		return nil, err
	}
	if mountOf(*db.like, db.volume, db.dir) == nil {
		return nil, fmt.Errorf("container %s does not mount %s", db.like.Name, db.volume.member.Volume)
	}
	return &inContainer{trial: t, db: db, like: like, data: t.seenAs(db)}, nil
}

func (s *inContainer) where() string {
	return "in a container of " + s.db.like.Image + " like " + s.db.like.Name
}
func (s *inContainer) socketDir() string { return socketsAt }

// create makes the container anew.
func (s *inContainer) create(ctx context.Context, argv []string) error {
	t := s.trial
	if t.journal.Container == "" {
		t.journal.Container = "volsnap-drill-" + t.app.Name + "-" + t.journal.Token
		if err := t.drill.write(t.journal); err != nil {
			return err
		}
	}
	if err := s.remove(ctx); err != nil {
		return err
	}
	id, err := t.drill.Docker.CreateThrowaway(ctx, docker.Throwaway{
		Name: t.journal.Container, Image: s.db.like.ImageID, Argv: argv, Env: s.db.like.Env, User: fmt.Sprintf("%d:%d", s.db.uid, s.db.gid),
		Labels: map[string]string{label: t.journal.Token}, Mounts: t.mounts(*s.db.like), Shm: s.like.Shm,
	})
	if err != nil {
		return err
	}
	s.id = id
	return t.drill.Docker.StartThrowaway(ctx, id)
}

func (s *inContainer) remove(ctx context.Context) error {
	return s.trial.drill.Docker.RemoveThrowaway(ctx, s.trial.journal.Container, label, s.trial.journal.Token)
}

// mounts are a container's with clones in the place of volumes. What else it could write to is empty and in memory, and what it could
// only read stays, unless it is a socket that leads somewhere.
func (t *trial) mounts(like docker.Container) []docker.ThrowawayMount {
	all := []docker.ThrowawayMount{{Destination: socketsAt}}
	for _, m := range like.Mounts {
		info, err := os.Stat(m.Source)
		missing := m.Source == "" || err != nil
		at, inSet := t.cloneOf(m)
		switch {
		case inSet:
			all = append(all, docker.ThrowawayMount{Source: at, Destination: m.Destination, ReadOnly: !m.RW})
		case m.Type == "tmpfs", m.RW && (missing || info.IsDir()):
			all = append(all, docker.ThrowawayMount{Destination: m.Destination})
		case !m.RW && !missing && (info.IsDir() || info.Mode().IsRegular()):
			all = append(all, docker.ThrowawayMount{Source: m.Source, Destination: m.Destination, ReadOnly: true})
		}
	}
	return all
}

// cloneOf is where the clone of what is mounted lies.
func (t *trial) cloneOf(m docker.Mount) (string, bool) {
	for _, v := range t.volumes {
		if m.Type == "volume" && m.Name == v.member.Volume {
			return v.at, true
		}
	}
	return t.cloneOfPath(plain(m.Source))
}

// cloneOfPath is where the clone of a path of the host lies. Of volumes that lie in each other it is in the innermost: the others have an
// empty directory in that one's place.
func (t *trial) cloneOfPath(path string) (string, bool) {
	var inner volume
	least := "" // the way from the top of inner
	for _, v := range t.volumes {
		if rel, ok := v.holds(path); ok {
			if rel = filepath.Join("/", rel); least == "" || len(rel) < len(least) {
				inner, least = v, rel
			}
		}
	}
	if least == "" {
		return "", false
	}
	at, err := plainPath(inner.at, filepath.Join(".", least))
	return at, err == nil
}

func (s *inContainer) begin(ctx context.Context, settings []string) (<-chan struct{}, error) {
	argv := append([]string{"postgres"}, serverOptions(s.like.Argv)...)
	argv = append(append(argv, "-D", s.data), settings...)
	if err := s.create(ctx, argv); err != nil {
		return nil, err
	}
	ctx, s.stops = context.WithCancel(ctx)
	s.ended = make(chan struct{})
	s.wait.Go(func() {
		defer close(s.ended)
		_, _ = s.trial.drill.Docker.AwaitEnd(ctx, s.id) // its log says how
	})
	return s.ended, nil
}

// serverOptions are those of a container's command line that starts PostgreSQL itself: ["docker-entrypoint.sh", "postgres", "-c",
// "max_connections=300"].
func serverOptions(argv []string) []string {
	i := slices.IndexFunc(argv, func(arg string) bool { return filepath.Base(arg) == "postgres" || filepath.Base(arg) == "postmaster" })
	if i < 0 {
		return nil
	}
	return slices.Clone(argv[i+1:])
}

func (s *inContainer) client(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	var start bytes.Buffer // of what it prints: why it could not be started
	r, err := s.trial.drill.Docker.ExecTo(ctx, s.id, argv, docker.ExecOptions{
		Env: append([]string{"LC_ALL=C", "PGOPTIONS=", "HOME=/"}, clientEnv...),
	}, io.MultiWriter(&head{&start}, stdout))
	if notFound(r.Exit) {
		r.Stderr += start.String()
	}
	return r.Exit, r.Stderr, err
}

// head keeps the beginning.
type head struct{ to *bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	const enough = 1 << 10
	h.to.Write(p[:min(len(p), max(0, enough-h.to.Len()))])
	return len(p), nil
}

func (s *inContainer) hostClient(ctx context.Context, argv []string, stdout io.Writer) (int, string, error) {
	c, err := s.trial.drill.Docker.Inspect(ctx, s.id)
	if err == nil && c.PID == 0 {
		err = errEnded
	}
	if err != nil {
		return 0, "", err
	}
	argv = slices.Clone(argv)
	for i, arg := range argv {
		if arg == "--host="+socketsAt {
			argv[i] = fmt.Sprintf("--host=/proc/%d/root%s", c.PID, socketsAt)
		}
	}
	out, err := command.Run(ctx, command.Cmd{Argv: bare(clientEnv, argv...), Stdout: stdout, Dir: "/"})
	return exitOf(out, err)
}

func (s *inContainer) stop(ctx context.Context) error {
	defer func() {
		s.stops()
		s.wait.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	err := s.trial.drill.Docker.Signal(ctx, s.id, "SIGINT")
	if err != nil && !errors.Is(err, docker.ErrNotRunning) {
		return err
	}
	select {
	case <-s.ended:
		return ctx.Err()
	case <-ctx.Done():
		return fmt.Errorf("stop the server: %w", ctx.Err())
	}
}

func (s *inContainer) offline(ctx context.Context, argv []string) (int, string, error) {
	if err := s.create(ctx, append(argv, s.data)); err != nil {
		if strings.Contains(err.Error(), "executable file not found") {
			return 127, err.Error(), nil
		}
		return 0, "", err
	}
	exit, err := s.trial.drill.Docker.AwaitEnd(ctx, s.id)
	if err != nil {
		return 0, "", err
	}
	stdout, stderr, err := s.trial.drill.Docker.Logs(ctx, s.id)
	return exit, stdout + stderr, err
}

func (s *inContainer) log(ctx context.Context) string {
	_, stderr, err := s.trial.drill.Docker.Logs(context.WithoutCancel(ctx), s.id)
	if err != nil {
		return err.Error()
	}
	return stderr
}
