package quiesce

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
)

// ErrCheckpoint says that PostgreSQL did not answer CHECKPOINT with success.
var ErrCheckpoint = errors.New("CHECKPOINT was not done")

// Postgres asks a PostgreSQL server for a CHECKPOINT, by psql inside its own container: what it had in memory is on disk
// afterwards, so that a server started from the snapshot has little to recover. It holds nothing.
//
// Prepare does the long one, and Freeze a second that has little left to write, shortly before the pause.
type Postgres struct {
	Docker         Docker
	Container      docker.Container
	User, Database string
	Timeout        time.Duration // of one CHECKPOINT

	LSN  string        // after Freeze: the write-ahead log's position after the CHECKPOINT
	Took time.Duration // after Freeze: how long that took
}

// Entries is nothing: there is nothing to undo.
func (p *Postgres) Entries() []Entry { return nil }

// Prepare does a CHECKPOINT that may take as long as Timeout.
func (p *Postgres) Prepare(ctx context.Context) error {
	_, err := p.checkpoint(ctx)
	return err
}

// Freeze does a CHECKPOINT, and records where the log is and how long it took.
func (p *Postgres) Freeze(ctx context.Context, _ *Hold) error {
	begin := time.Now()
	lsn, err := p.checkpoint(ctx)
	p.LSN, p.Took = lsn, time.Since(begin)
	return err
}

// The position is asked for in the same session, after CHECKPOINT has ended; a standby can only say how far it has replayed.
const lsnQuery = `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END`

var lsnPattern = regexp.MustCompile(`^[0-9A-F]{1,8}/[0-9A-F]{1,8}$`)

func (p *Postgres) checkpoint(ctx context.Context) (lsn string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	argv := []string{
		"psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1",
		"--username=" + p.User, "--dbname=" + p.Database, "--command=CHECKPOINT", "--command=" + lsnQuery,
	}
	res, err := p.Docker.Exec(ctx, p.Container.ID, argv, docker.ExecOptions{Env: []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap", "LC_ALL=C"}})
	if err != nil {
		return "", fmt.Errorf("%w: container %s: %w", ErrCheckpoint, p.Container.Name, err)
	}
	if res.Exit != 0 {
		return "", fmt.Errorf("%w: container %s: psql: exit status %d: %s", ErrCheckpoint, p.Container.Name, res.Exit, oneLine(res.Stderr))
	}
	lsn = strings.TrimSpace(res.Stdout)
	if !lsnPattern.MatchString(lsn) {
		return "", fmt.Errorf("%w: container %s: psql answered %q where a log position was due", ErrCheckpoint, p.Container.Name, oneLine(res.Stdout))
	}
	return lsn, nil
}

// oneLine makes a program's message fit for an error.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
