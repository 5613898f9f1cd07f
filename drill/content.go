package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A sample of a volume is so many files, or so many bytes of them.
const (
	sampleFiles = 1000
	sampleBytes = 1 << 30
)

// inFlight is how long before the writers were held a file may have been written to last, to count as one that was being written.
const inFlight = 20 * time.Millisecond

// contentName is the name of a file that is named for the SHA-256 of its content.
var contentName = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// contents compares files with their names, in every volume that has such files.
func (t *trial) contents(ctx context.Context) error {
	if t.app.Content == None {
		return nil
	}
	for _, v := range t.volumes {
		t.drill.stage("comparing files of " + v.member.Volume + " with their names")
		if err := t.content(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// found are files of a volume that are named for their content.
type found struct {
	count int      // all of them
	paths []string // those to be read
}

func (t *trial) content(ctx context.Context, v volume) error {
	name := "content " + v.member.Volume
	if info, err := os.Stat(v.at); err == nil && !info.IsDir() {
		return nil // a single file
	}
	files, err := look(ctx, v.at, t.app.Content == Full)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.fail(name, "%v", err)
		return nil
	}
	if files.count == 0 {
		return nil
	}
	bad, unfinished, detail, err := t.compare(ctx, v, files)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		t.fail(name, "%v", err)
	case len(bad) > 0:
		t.fail(name, "%d files hold something else than their names say, such as %s; %s", len(bad), bad[0], detail)
	default:
		if len(unfinished) > 0 {
			detail += fmt.Sprintf("; %d were being written when the set was taken, such as %s", len(unfinished), unfinished[0])
		}
		t.pass(name, "%s", detail)
	}
	return nil
}

// look lists the files, all of them or a random sample (Vitter's algorithm R). Data directories of PostgreSQL have none.
func look(ctx context.Context, top string, all bool) (f found, err error) {
	err = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if e.IsDir() && isData(path) {
			return fs.SkipDir
		}
		if !e.Type().IsRegular() || !contentName.MatchString(e.Name()) {
			return nil
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		f.count++
		if all || len(f.paths) < sampleFiles {
			f.paths = append(f.paths, rel)
		} else if i := rand.IntN(f.count); i < sampleFiles {
			f.paths[i] = rel
		}
		return nil
	})
	rand.Shuffle(len(f.paths), func(i, j int) { f.paths[i], f.paths[j] = f.paths[j], f.paths[i] })
	return f, err
}

func isData(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "global", "pg_control"))
	return err == nil
}

// compare reads files. Those that differ, and were written to in the very moment in which the set was taken, are unfinished unless
// a row names them: who writes a file under its final name leaves such a one whenever it is held.
func (t *trial) compare(ctx context.Context, v volume, files found) (bad, unfinished []string, detail string, err error) {
	root, err := os.OpenRoot(v.at)
	if err != nil {
		return nil, nil, "", err
	}
	defer func() { _ = root.Close() }()
	read, bytes := 0, int64(0)
	for _, path := range files.paths {
		if t.app.Content != Full && bytes >= sampleBytes {
			break
		}
		ok, info, err := sameAsName(ctx, root, path)
		if err != nil {
			return nil, nil, "", err
		}
		read++
		bytes += info.Size()
		switch {
		case ok:
		case t.wasInFlight(v, info) && !t.named[v.member.Volume+"\x00"+path]:
			unfinished = append(unfinished, path)
		default:
			bad = append(bad, path)
		}
	}
	return bad, unfinished, fmt.Sprintf("%d of %d files with %d bytes were read", read, files.count, bytes), nil
}

// wasInFlight reports whether a file was last written to just before the set was taken.
func (t *trial) wasInFlight(v volume, info fs.FileInfo) bool {
	held := time.Duration(t.set.Manifest.PauseMS * float64(time.Millisecond))
	at := info.ModTime()
	return at.After(v.member.Taken.Add(-held-inFlight)) && at.Before(v.member.Taken.Add(inFlight))
}

// sameAsName reads a file.
func sameAsName(ctx context.Context, root *os.Root, path string) (bool, fs.FileInfo, error) {
	f, err := root.Open(path)
	if err != nil {
		return false, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return false, nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, reader{ctx, f}); err != nil {
		if ctx.Err() == nil {
			return false, info, nil // what cannot be read is not what it should be
		}
		return false, info, err
	}
	return strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), filepath.Base(path)), info, nil
}

// reader is r until ctx ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
