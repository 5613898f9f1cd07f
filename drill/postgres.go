package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/snapset"
)

// oldest is the first major version in which the settings that lead to an archive are no file of their own.
const oldest = 12

// databases starts a server on each data directory, one after the other, and checks it.
func (t *trial) databases(ctx context.Context) error {
	dbs, err := t.findDatabases(ctx)
	if err != nil && ctx.Err() == nil {
		t.fail("postgres", "look for data directories of PostgreSQL: %v", err)
	}
	all, err := t.containers(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.fail("postgres", "%v", err)
		return nil
	}
	for i := range dbs {
		dbs[i].alone = len(dbs) == 1
		t.assignOne(&dbs[i], all)
	}
	t.checkServers(dbs, all)
	asked := max(0, slices.IndexFunc(dbs, func(db database) bool { return db.named }))
	if t.app.Query != "" && (len(dbs) == 0 || dbs[asked].damage != nil) {
		t.fail("rows", "no volume of the set holds a sound data directory of PostgreSQL, so nobody can answer the query")
	}
	t.prepared = t.drill.Now().Sub(t.began)
	for i, db := range dbs {
		suffix := ""
		if !db.alone {
			suffix = " " + db.volume.member.Volume
		}
		if err := t.database(ctx, db, suffix, i == asked); err != nil {
			return err
		}
	}
	return nil
}

// database checks one data directory. suffix tells the checks of several apart; one of them is asked the query.
func (t *trial) database(ctx context.Context, db database, suffix string, asked bool) error {
	begin := t.drill.Now()
	said, err := t.prepare(&db, suffix)
	if err != nil {
		t.fail("postgres"+suffix, "%v", err)
		return nil
	}
	t.drill.stage("starting PostgreSQL on " + db.volume.member.Volume)
	s, facts, err := t.up(ctx, db)
	if err != nil {
		if ctx.Err() == nil {
			t.fail("postgres"+suffix, "%s", strings.Join(append(said, err.Error()), "; "))
		}
		return ctx.Err()
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = s.stop(context.WithoutCancel(ctx)) // whatever it is, it is removed
		}
	}()
	ready := t.prepared + t.drill.Now().Sub(begin)
	fault.Point("after PostgreSQL was ready")
	t.report.ReadyMS = max(t.report.ReadyMS, ms(ready))
	t.checkRecovery(facts, db, "postgres"+suffix, fmt.Sprintf("PostgreSQL %d %s accepted connections after %s, up to %s",
		db.major, s.where(), ready.Round(time.Millisecond), facts.lsn), said)
	ask := session{s, facts.superuser}
	t.drill.stage("checking tables and indexes of " + db.volume.member.Volume)
	t.checkTables(ctx, ask, facts, "pg_amcheck"+suffix)
	if t.app.Query != "" && asked {
		t.drill.stage("comparing rows with files")
		t.checkRows(ctx, ask, db)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	stopped = true
	fault.Point("before PostgreSQL is stopped")
	t.drill.stage("checking the checksums of " + db.volume.member.Volume)
	t.checkSums(ctx, s, facts, "checksums"+suffix)
	return ctx.Err()
}

// prepare looks at a data directory and at its log, and prepares it for a server. An error says why there is to be none.
func (t *trial) prepare(db *database, suffix string) (said []string, err error) {
	switch {
	case db.damage != nil:
		return nil, fmt.Errorf("volume %s: %w", db.volume.member.Volume, db.damage)
	case db.uid == 0:
		return nil, errors.New("the data directory is root's: PostgreSQL does not run as root, and a drill does not try")
	case db.major < oldest:
		return nil, fmt.Errorf("the data directory is of PostgreSQL %d: a drill knows those since %d", db.major, oldest)
	}
	if db.parts, err = t.findParts(*db); err != nil {
		return nil, err
	}
	if err := t.checkLog(*db, "wal"+suffix); errors.Is(err, errNotRegular) {
		return nil, fmt.Errorf("no server is started, since it would open that too: %w", err)
	}
	return openData(*db)
}

// otherVersion is what a server says that is of another major version than its data directory: the app was upgraded since.
const otherVersion = "database files are incompatible with server"

// up starts a server and waits until it answers.
func (t *trial) up(ctx context.Context, db database) (server, facts, error) {
	s, ended, err := t.start(ctx, db)
	if err != nil {
		return nil, facts{}, err
	}
	f, err := t.await(ctx, s, db, ended)
	if err == nil {
		return s, f, nil
	}
	log := s.log(ctx)
	_ = s.stop(context.WithoutCancel(ctx)) // whatever it is, it is removed
	if ctx.Err() == nil && db.like != nil && strings.Contains(log, otherVersion) {
		zerolog.Ctx(ctx).Warn().Str("container", db.like.Name).Msgf("its image is not of PostgreSQL %d: this host's programs will do", db.major)
		db.like = nil
		return t.up(ctx, db)
	}
	return nil, facts{}, fmt.Errorf("%s: %w: %s", s.where(), err, lastWords(log))
}

// start starts a server in a container like the app's, or where that cannot be, by this host's programs.
func (t *trial) start(ctx context.Context, db database) (server, <-chan struct{}, error) {
	if db.like != nil {
		s, err := newInContainer(ctx, t, db)
		if err != nil {
			return nil, nil, err
		}
		ended, err := s.begin(ctx, harmless(s.data, socketsAt))
		if !errors.Is(err, docker.ErrNotFound) {
			return s, ended, err
		}
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the image of the app's container is gone: this host's programs will do")
	}
	s, err := newOnHost(db, t.journal.Token)
	if err != nil {
		return nil, nil, err
	}
	settings := harmless(hostData, hostSockets)
	if t.report.From != "" {
		settings = append(settings, noLibraries...)
	}
	ended, err := s.begin(ctx, settings)
	return s, ended, err
}

// facts are what a server says of itself.
type facts struct {
	superuser string
	lsn       string // where its log is after recovery
	checksums bool
	version   int // 150018
}

const factsQuery = `SELECT rolname, pg_current_wal_lsn(), current_setting('data_checksums'), current_setting('server_version_num')
 FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1`

// await returns when the server has recovered and answers.
func (t *trial) await(ctx context.Context, s server, db database, ended <-chan struct{}) (facts, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.app.Timeout, fmt.Errorf("it was not ready within %s", t.app.Timeout))
	defer cancel()
	if err := awaitReady(ctx, db, ended); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(ctx)
		}
		return facts{}, err
	}
	var errs []error
	for _, user := range candidates(db) {
		rows, err := session{server: s}.rows(ctx, user, "template1", factsQuery)
		if err == nil && (len(rows) != 1 || len(rows[0]) != 4) {
			err = fmt.Errorf("it has no superuser who may log in: %q", rows)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		version, err := strconv.Atoi(rows[0][3])
		return facts{superuser: rows[0][0], lsn: rows[0][1], checksums: rows[0][2] == "on", version: version}, err
	}
	return facts{}, errors.Join(errs...)
}

// candidates are roles that may be superusers, each once: the one that is configured, the usual one, and whatever the catalogue of
// roles holds. That is looked at as a file, since a server answers only whom it knows.
func candidates(db database) []string {
	all := []string{db.user, "postgres"}
	if root, err := os.OpenRoot(db.dir); err == nil {
		catalogue, err := readRegular(root, roles, rolesLimit)
		if err == nil {
			all = append(all, namesIn(catalogue)...)
		}
		_ = root.Close()
	}
	var once []string
	for _, name := range all {
		if !slices.Contains(once, name) && len(once) < mostCandidates {
			once = append(once, name)
		}
	}
	return once
}

const (
	roles          = "global/1260" // pg_authid, unless it was rewritten
	rolesLimit     = 16 << 20
	nameSize       = 64 // of PostgreSQL's type name, filled up with zeros
	mostCandidates = 20
)

var roleName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.$-]*$`)

// namesIn are what may be names in the pages of a catalogue, but for PostgreSQL's own roles.
func namesIn(pages []byte) (names []string) {
	for at := 0; at+nameSize <= len(pages); at += 4 {
		name, rest, _ := bytes.Cut(pages[at:at+nameSize], []byte{0})
		if len(rest) > 0 && roleName.Match(name) && !bytes.HasPrefix(name, []byte("pg_")) && len(bytes.Trim(rest, "\x00")) == 0 {
			names = append(names, string(name))
		}
	}
	return names
}

// checkRecovery compares how far the log went with what the manifest says that had been written.
func (t *trial) checkRecovery(f facts, db database, name, detail string, said []string) {
	detail = strings.Join(append([]string{detail}, said...), "; ")
	reached, err := parseLSN(f.lsn)
	if err != nil {
		t.fail(name, "%s; %v", detail, err)
		return
	}
	written := t.checkpointsOf(db)
	for _, c := range written {
		at, err := parseLSN(c.LSN)
		if err != nil {
			t.fail(name, "%s; the manifest has a CHECKPOINT, and %v", detail, err)
			return
		}
		if reached < at {
			t.fail(name, "%s; the manifest has a CHECKPOINT at %s, so what was written before that is lost", detail, c.LSN)
			return
		}
	}
	if len(written) == 0 && len(t.set.Manifest.Checkpoints) > 0 {
		detail += "; not compared with a CHECKPOINT of the manifest, since it is not known which server this was"
	}
	t.pass(name, "%s", detail)
}

// checkpointsOf are those that the manifest has of a data directory's server. Where no container tells which that is, there may be only one.
func (t *trial) checkpointsOf(db database) []snapset.Checkpoint {
	of := func(container string) (own []snapset.Checkpoint) {
		for _, c := range t.set.Manifest.Checkpoints {
			if c.Container == container {
				own = append(own, c)
			}
		}
		return own
	}
	if db.like != nil {
		if own := of(db.like.Name); len(own) > 0 {
			return own
		}
	}
	all := t.set.Manifest.Checkpoints
	if db.alone && len(all) > 0 && len(of(all[0].Container)) == len(all) {
		return all
	}
	return nil
}

// parseLSN reads a position in the write-ahead log, such as 0/1A2B3C8.
func parseLSN(s string) (uint64, error) {
	high, low, ok := strings.Cut(s, "/")
	a, errHigh := strconv.ParseUint(high, 16, 32)
	b, errLow := strconv.ParseUint(low, 16, 32)
	if !ok || errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("%q is no position in the write-ahead log", s)
	}
	return a<<32 | b, nil
}

// checkSums stops the server and has every page read.
func (t *trial) checkSums(ctx context.Context, s server, f facts, name string) {
	if err := s.stop(ctx); err != nil {
		t.fail(name, "%v", err)
		return
	}
	if !f.checksums {
		t.pass(name, "this cluster has none: pages are not protected (initdb --data-checksums, or pg_checksums --enable)")
		return
	}
	exit, out, err := s.offline(ctx, []string{"pg_checksums", "--check", "-D"})
	switch {
	case err != nil:
		t.fail(name, "%v", err)
	case notFound(exit):
		t.fail(name, "there is no pg_checksums beside the server: %s", oneLine(out))
	case exit != 0:
		t.fail(name, "%s", oneLine(out))
	default:
		t.pass(name, "%s", oneLine(out))
	}
}
