package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// firstAmcheck is the first major version with pg_amcheck and verify_heapam.
const firstAmcheck = 14

// checkTables has every table and index of every database checked, each index also for whether it has an entry for every row.
func (t *trial) checkTables(ctx context.Context, s session, f facts, name string) {
	major := f.version / 10000
	if major >= firstAmcheck {
		var out bytes.Buffer
		exit, stderr, by, err := t.amcheck(ctx, s, major, &out)
		switch {
		case err != nil:
			t.fail(name, "%v", err)
			return
		case exit == 0:
			t.pass(name, "all databases, by %s: every table and index, with --heapallindexed", by)
			return
		case !notFound(exit):
			t.fail(name, "%s", oneLine(out.String()+" "+stderr))
			return
		}
	}
	checked, err := t.checkBySQL(ctx, s, major)
	if err != nil {
		t.fail(name, "by SQL, since there is no pg_amcheck: %v", err)
		return
	}
	t.pass(name, "%d databases, by SQL, since there is no pg_amcheck: bt_index_check with heapallindexed", checked)
}

// amcheck runs pg_amcheck where the server is, or else this host's of the same or a newer major version.
func (t *trial) amcheck(ctx context.Context, s session, major int, out io.Writer) (exit int, stderr, by string, err error) {
	argv := []string{"pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--no-password", "--host=" + s.socketDir(), "--port=" + port, "--username=" + s.user}
	exit, stderr, err = s.client(ctx, argv, out)
	if err != nil || !notFound(exit) {
		return exit, stderr, "the server's pg_amcheck", err
	}
	for v := newestHere(); v >= major; v-- {
		argv[0] = filepath.Join(programsOf(v), "pg_amcheck")
		exit, stderr, err = s.hostClient(ctx, argv, out)
		if err != nil || !notFound(exit) {
			return exit, stderr, fmt.Sprintf("this host's pg_amcheck of version %d", v), err
		}
	}
	return exit, stderr, "", nil
}

// newestHere is the newest major version of which this host has programs.
func newestHere() (newest int) {
	found, err := filepath.Glob(hostPrograms + "/*/bin/pg_amcheck")
	if err != nil {
		return 0
	}
	for _, name := range found {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(name)))); err == nil {
			newest = max(newest, v)
		}
	}
	return newest
}

const (
	databasesQuery = `SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname`
	indexQuery     = `SELECT count(bt_index_check(c.oid, true)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
 WHERE a.amname = 'btree' AND c.relpersistence = 'p' AND c.relkind = 'i' AND i.indisready AND i.indisvalid`
	heapQuery = `SELECT c.oid::regclass, v.blkno, v.msg FROM pg_class c, LATERAL verify_heapam(c.oid) v
 WHERE c.relkind IN ('r', 't', 'm') AND c.relpersistence = 'p' LIMIT 5`
)

// checkBySQL checks by the extension alone, database by database.
func (t *trial) checkBySQL(ctx context.Context, s session, major int) (checked int, err error) {
	names, err := s.rows(ctx, s.user, "template1", databasesQuery)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, name := range names {
		db := name[0]
		if err := s.psql(ctx, s.user, db, "CREATE EXTENSION IF NOT EXISTS amcheck", io.Discard); err != nil {
			return checked, fmt.Errorf("database %s: %w: install PostgreSQL's contrib modules where its programs are", db, err)
		}
		if err := s.psql(ctx, s.user, db, indexQuery, io.Discard); err != nil {
			errs = append(errs, fmt.Errorf("database %s: %w", db, err))
		}
		if major >= firstAmcheck {
			bad, err := s.rows(ctx, s.user, db, heapQuery)
			for _, row := range bad {
				errs = append(errs, fmt.Errorf("database %s: %s", db, strings.Join(row, ": ")))
			}
			errs = append(errs, err)
		}
		checked++
	}
	return checked, errors.Join(errs...)
}
