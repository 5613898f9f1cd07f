package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

func (t *trial) content(ctx context.Context, v volume) error {
	name := "content " + v.member.Volume
	if info, err := os.Stat(v.at); err == nil && !info.IsDir() {
		return nil // a single file
	}
	c := &comparison{trial: t, volume: v}
	err := c.make(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		t.fail(name, "%v", err)
	case c.count == 0:
	case c.bad.count > 0:
		t.fail(name, "%s hold something else than their names say; %s", c.bad, c)
	case c.unfinished.count > 0:
		t.pass(name, "%s; %s were being written when the set was taken", c, c.unfinished)
	default:
		t.pass(name, "%s", c)
	}
	return nil
}

// comparison is of the files of a volume that are named for their content. There may be many millions of them in one directory: it holds
// no more of their names than it reads files.
type comparison struct {
	trial  *trial
	volume volume
	root   *os.Root

	count, read     int // of files
	bytes           int64
	bad, unfinished such
}

// such are files, of which one is named.
type such struct {
	count int
	name  string
}

func (s *such) add(name string) {
	s.count++
	s.name = name
}

func (s such) String() string { return fmt.Sprintf("%d files (such as %s)", s.count, s.name) }

func (c *comparison) String() string {
	return fmt.Sprintf("%d of %d files with %d bytes were read", c.read, c.count, c.bytes)
}

// make reads all files, or a random sample of them (Vitter's algorithm R).
func (c *comparison) make(ctx context.Context) error {
	var err error
	if c.root, err = os.OpenRoot(c.volume.at); err != nil {
		return err
	}
	defer func() { _ = c.root.Close() }()
	if c.trial.app.Content == Full {
		return c.walk(ctx, ".", func(path string) error { return c.compare(ctx, path) })
	}
	var sample []string
	err = c.walk(ctx, ".", func(path string) error {
		if len(sample) < sampleFiles {
			sample = append(sample, path)
		} else if i := rand.IntN(c.count); i < sampleFiles {
			sample[i] = path
		}
		return nil
	})
	rand.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	for i := 0; i < len(sample) && err == nil && c.bytes < sampleBytes; i++ {
		err = c.compare(ctx, sample[i])
	}
	return err
}

// walk visits the files below a directory. Data directories of PostgreSQL have none.
func (c *comparison) walk(ctx context.Context, dir string, visit func(path string) error) error {
	if _, err := c.root.Lstat(filepath.Join(dir, controlFile)); err == nil {
		return nil
	}
	var below []string
	err := entries(ctx, c.root, dir, func(e fs.DirEntry) error {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			below = append(below, path)
		case e.Type().IsRegular() && contentName.MatchString(e.Name()):
			c.count++
			return visit(path)
		}
		return nil
	})
	for _, path := range below {
		if err == nil {
			err = c.walk(ctx, path, visit)
		}
	}
	return err
}

// compare reads a file. One that differs, and was written to in the very moment in which the set was taken, is unfinished unless
// a row names it: who writes a file under its final name leaves such a one whenever it is held.
func (c *comparison) compare(ctx context.Context, path string) error {
	ok, info, err := sameAsName(ctx, c.root, path)
	if err != nil {
		return err
	}
	c.read++
	c.bytes += info.Size()
	switch {
	case ok:
	case c.trial.wasInFlight(c.volume, info) && !c.trial.named[c.volume.member.Volume+"\x00"+path]:
		c.unfinished.add(path)
	default:
		c.bad.add(path)
	}
	return nil
}

// wasInFlight reports whether a file was last written to just before the set was taken.
func (t *trial) wasInFlight(v volume, info fs.FileInfo) bool {
	held := time.Duration(t.set.Manifest.PauseMS * float64(time.Millisecond))
	at := info.ModTime()
	return at.After(v.member.Taken.Add(-held-inFlight)) && at.Before(v.member.Taken.Add(inFlight))
}

// sameAsName reads a file.
func sameAsName(ctx context.Context, root *os.Root, path string) (bool, fs.FileInfo, error) {
	f, err := openRegular(root, path)
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
