package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// server is a throw-away PostgreSQL on a clone.
type server interface {
	// begin starts it, and does not wait for it. ended is closed once it has ended.
	begin(ctx context.Context, settings []string) (ended <-chan struct{}, err error)
	// client runs a client program where the server is, and copies what it prints.
	client(ctx context.Context, argv []string, stdout io.Writer) (exit int, stderr string, err error)
	// hostClient does that with a program of this host, by its path.
	hostClient(ctx context.Context, argv []string, stdout io.Writer) (exit int, stderr string, err error)
	// socketDir is where the server's socket is seen by the client.
	socketDir() string
	// stop ends it in order, and waits.
	stop(ctx context.Context) error
	// offline runs a program on the data directory, whose path is added, while no server runs.
	offline(ctx context.Context, argv []string) (exit int, out string, err error)
	// log is the end of what the server has printed.
	log(ctx context.Context) string
	// where says what it is, for people.
	where() string
}

// notFound are exit statuses of a program that is not there: of Docker, and of a shell.
func notFound(exit int) bool { return exit == 126 || exit == 127 }

const (
	port      = "5432"
	readyPoll = 20 * time.Millisecond
	hbaName   = "volsnap-drill.hba"
	lockFile  = "postmaster.pid"
	lockLimit = 4 << 10
)

// harmless are settings of the throw-away server. What an option of the app's own command line says is kept unless it is here: the
// limits on connections and the like have to be as large as they were, for recovery.
func harmless(dataDir, socketDir string) []string {
	var args []string
	for _, s := range [][2]string{
		{"data_directory", dataDir},
		{"listen_addresses", ""},
		{"unix_socket_directories", socketDir},
		{"unix_socket_group", ""},
		{"unix_socket_permissions", "0777"},
		{"port", port},
		{"hba_file", dataDir + "/" + hbaName}, // whoever reaches the socket is root of this host
		{"external_pid_file", ""},
		{"ssl", "off"},
		{"archive_mode", "off"},
		{"archive_command", ""},
		{"archive_cleanup_command", ""},
		{"recovery_end_command", ""},
		{"restore_command", ""},
		{"synchronous_standby_names", ""}, // or a commit waits for a standby that there is not
		{"logging_collector", "off"},
		{"log_destination", "stderr"},
		{"log_min_messages", "warning"},
		{"lc_messages", "C"},
		{"autovacuum", "off"},
		{"huge_pages", "off"},       // the app's own server has them
		{"shared_buffers", "128MB"}, // the memory of two servers is what this host may not have
	} {
		args = append(args, "-c", s[0]+"="+s[1])
	}
	return args
}

// noLibraries are settings for a replica: whoever wrote it is not to choose which of this host's libraries a server loads.
var noLibraries = []string{"-c", "shared_preload_libraries=", "-c", "session_preload_libraries=", "-c", "local_preload_libraries="}

// openData prepares the data directory for a server of nobody's: what is said of how it was found is returned.
func openData(db database) (said []string, err error) {
	root, err := os.OpenRoot(db.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	for _, gone := range []struct{ name, says string }{
		{lockFile, "the lock file of a server was there (postmaster.pid): it ran, or was killed, when the set was taken"},
		{"standby.signal", "it was a standby (standby.signal), and was recovered as a server of its own"},
		{"recovery.signal", "it was to recover from an archive (recovery.signal), and was recovered from its own log alone"},
	} {
		err := root.Remove(gone.name)
		if err == nil {
			said = append(said, gone.says)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if err := root.Remove(hbaName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := root.OpenFile(hbaName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("local all all trust\n")
	return said, errors.Join(err, f.Chown(db.uid, db.gid), f.Close())
}

// awaitReady returns when the server says in its lock file that it is ready, as pg_ctl(1) waits for it, or has ended.
func awaitReady(ctx context.Context, db database, ended <-chan struct{}) error {
	root, err := os.OpenRoot(db.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	for {
		if text, err := readRegular(root, lockFile, lockLimit); err == nil {
			if lines := strings.Split(string(text), "\n"); len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return errEnded
		case <-again.C:
		}
	}
}

var errEnded = errors.New("the server has ended")

// session is how a server is asked.
type session struct {
	server
	user string // a superuser, once known
}

// psql runs SQL and copies the rows: fields end with a unit separator, rows with a NUL.
func (s session) psql(ctx context.Context, user, database, sql string, to io.Writer) error {
	exit, stderr, err := s.client(ctx, []string{
		"psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1",
		"--field-separator=" + fieldEnd, "--record-separator-zero", "--host=" + s.socketDir(), "--port=" + port,
		"--username=" + user, "--dbname=" + conninfo(database), "--command=" + sql,
	}, to)
	if err == nil && exit != 0 {
		err = fmt.Errorf("psql: exit status %d: %s", exit, oneLine(stderr))
	}
	return err
}

// conninfo says which database is meant, whatever its name looks like (PQconnectdbParams, expand_dbname).
func conninfo(database string) string {
	return "dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database) + "'"
}

const (
	fieldEnd = "\x1f"
	rowEnd   = "\x00"
)

// rows is psql for short answers.
func (s session) rows(ctx context.Context, user, database, sql string) ([][]string, error) {
	var out bytes.Buffer
	if err := s.psql(ctx, user, database, sql, &out); err != nil {
		return nil, err
	}
	var all [][]string
	for row := range strings.SplitSeq(strings.TrimRight(out.String(), rowEnd+"\n"), rowEnd) {
		if row != "" {
			all = append(all, strings.Split(row, fieldEnd))
		}
	}
	return all, nil
}

// oneLine makes a program's message fit for a detail.
func oneLine(s string) string {
	const enough = 600
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return s
}

// lastWords is why a server gave up: the end of its log that says so.
func lastWords(log string) string {
	const enough = 6
	var lines []string
	for line := range strings.Lines(log) {
		for _, level := range []string{"FATAL", "PANIC", "ERROR", "WARNING", "HINT", "DETAIL", "invalid", "could not", "not found"} {
			if strings.Contains(line, level) {
				lines = append(lines, strings.TrimSpace(line))
				break
			}
		}
	}
	if len(lines) == 0 {
		lines = strings.Split(strings.TrimSpace(log), "\n")
	}
	return oneLine(strings.Join(lines[max(0, len(lines)-enough):], "; "))
}
