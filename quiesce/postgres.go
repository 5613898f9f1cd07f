package quiesce

import (
	"cmp"
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
	lsn, err = p.psql(ctx, "CHECKPOINT", lsnQuery)
	if err == nil && !lsnPattern.MatchString(lsn) {
		err = fmt.Errorf("%w: container %s: psql answered %q where a log position was due", ErrCheckpoint, p.Container.Name, oneLine(lsn))
	}
	return lsn, err
}

// The right to CHECKPOINT is a superuser's, and since PostgreSQL 15 also that of the members of pg_checkpoint.
const rightQuery = `SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
 OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(current_user, oid, 'USAGE'))`

// MayCheckpoint asks whether the step would be allowed to, and does nothing else.
func (p *Postgres) MayCheckpoint(ctx context.Context) error {
	answer, err := p.psql(ctx, rightQuery)
	if err == nil && answer != "t" {
		err = fmt.Errorf("%w: container %s: the user %s has no right to", ErrCheckpoint, p.Container.Name, p.User)
	}
	return err
}

// psql runs commands in one session and returns what they print.
func (p *Postgres) psql(ctx context.Context, commands ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	argv := []string{
		"psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1",
		"--username=" + p.User, "--dbname=" + p.Database,
	}
	for _, c := range commands {
		argv = append(argv, "--command="+c)
	}
	res, err := p.Docker.Exec(ctx, p.Container.ID, argv, docker.ExecOptions{Env: []string{"PGCONNECT_TIMEOUT=10", "PGAPPNAME=volsnap", "LC_ALL=C"}})
	if err != nil {
		return "", fmt.Errorf("%w: container %s: %w", ErrCheckpoint, p.Container.Name, err)
	}
	if res.Exit != 0 {
		return "", fmt.Errorf("%w: container %s: psql: exit status %d: %s", ErrCheckpoint, p.Container.Name, res.Exit, oneLine(cmp.Or(res.Stderr, res.Stdout)))
	}
	return strings.TrimSpace(res.Stdout), nil
}

// oneLine makes a program's message fit for an error.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
