package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkRows asks the query, and looks whether each path that it returns is a regular file of the volume.
func (t *trial) checkRows(ctx context.Context, s session, db database) {
	const name = "rows"
	v, ok := t.volumeNamed(t.app.Volume)
	if !ok {
		t.fail(name, "the set has no volume %q, which drill.volume names", t.app.Volume)
		return
	}
	root, err := os.OpenRoot(v.at)
	if err != nil {
		t.fail(name, "%v", err)
		return
	}
	defer func() { _ = root.Close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, t.app.Timeout, fmt.Errorf("the query took longer than %s", t.app.Timeout))
	defer cancel()
	rows := &named{root: root, fresh: func(path string, info fs.FileInfo) {
		if t.wasInFlight(v, info) {
			t.named[v.member.Volume+"\x00"+filepath.Clean(path)] = true
		}
	}}
	err = s.psql(ctx, db.user, db.database, t.app.Query, rows)
	switch {
	case rows.err != nil:
		t.fail(name, "%v", rows.err)
	case ctx.Err() != nil:
		t.fail(name, "%v", context.Cause(ctx))
	case err != nil:
		t.fail(name, "%v", err)
	case rows.missing > 0:
		t.fail(name, "%d of %d rows name what is no file in %s, such as %q", rows.missing, rows.count, t.app.Volume, rows.such)
	default:
		t.pass(name, "%d rows, and each names a file in %s", rows.count, t.app.Volume)
	}
}

// named takes the rows as psql prints them.
type named struct {
	root    *os.Root
	fresh   func(path string, info fs.FileInfo) // told of each file
	rest    []byte
	count   int
	missing int
	such    string
	err     error // of the query's form
}

// longestPath is more than a path can have.
const longestPath = 8 << 10

func (n *named) Write(p []byte) (int, error) {
	n.rest = append(n.rest, p...)
	for n.err == nil {
		row, more, ok := bytes.Cut(n.rest, []byte(rowEnd))
		if !ok {
			break
		}
		n.rest = more
		n.row(string(row))
	}
	if len(n.rest) > longestPath && n.err == nil {
		n.err = errors.New("the query returned something that is no path: it is too long")
	}
	if n.err != nil {
		n.rest = nil
		return 0, n.err
	}
	return len(p), nil
}

func (n *named) row(path string) {
	if strings.Contains(path, fieldEnd) {
		n.err = errors.New("the query returned several columns: want one, of paths relative to the top of the volume")
		return
	}
	n.count++
	info, err := n.root.Lstat(path)
	if err == nil && info.Mode().IsRegular() {
		n.fresh(path, info)
		return
	}
	n.missing++
	if n.such == "" {
		n.such = path
	}
}
