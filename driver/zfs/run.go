package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/internal/command"
)

// run runs a command of ZFS, and mount(8).
func run(ctx context.Context, argv ...string) (string, error) {
	out, err := command.Run(ctx, command.Cmd{Argv: argv})
	return string(out.Stdout), classify(err)
}

// list runs a command that prints a table with -H, and gives each row to use. With some, it is no error if something
// that was named does not exist.
func list(ctx context.Context, some bool, use func(fields []string) error, argv ...string) error {
	rows, stderr := &rowWriter{use: use}, &bytes.Buffer{}
	_, err := command.Run(ctx, command.Cmd{Argv: argv, Stdout: rows, Stderr: stderr})
	if err != nil && !(some && onlyMissing(err, stderr.String())) {
		return classify(err)
	}
	if rows.rest.Len() > 0 {
		return fmt.Errorf("%s: its last line is cut off", command.Quote(argv))
	}
	return nil
}

var missing = regexp.MustCompile(`^(cannot open '[^']*': dataset does not exist|no datasets available)$`)

// onlyMissing reports whether a command failed for no other reason than that something does not exist.
func onlyMissing(err error, stderr string) bool {
	var failed *command.Error
	if !errors.As(err, &failed) || failed.Err != nil || failed.Exit != 1 {
		return false
	}
	for line := range strings.Lines(stderr) {
		if !missing.MatchString(strings.TrimSuffix(line, "\n")) {
			return false
		}
	}
	return stderr != ""
}

// rowWriter cuts what is written to it into lines, and those at tabs. A listing has no limit that way.
type rowWriter struct {
	use  func(fields []string) error
	rest bytes.Buffer
}

func (w *rowWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, more, whole := bytes.Cut(p, []byte{'\n'})
		if !whole {
			w.rest.Write(p)
			return n, nil
		}
		w.rest.Write(line)
		fields := strings.Split(w.rest.String(), "\t")
		w.rest.Reset()
		if err := w.use(fields); err != nil {
			return 0, err
		}
		p = more
	}
}

// chunks calls do with at most n of all at a time.
func chunks[T any](all []T, n int, do func([]T) error) error {
	for len(all) > 0 {
		some := all[:min(n, len(all))]
		if err := do(some); err != nil {
			return err
		}
		all = all[len(some):]
	}
	return nil
}

// atOnce is how many commands that change a pool run at a time. Each waits for a transaction group, and they share it.
const atOnce = 8

// inParallel calls do with at most n of all at a time, several at once, and returns all errors.
func inParallel[T any](all []T, n int, do func([]T) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	failed := make([]error, (len(all)+n-1)/n)
	for i := range failed {
		g.Go(func() error {
			failed[i] = do(all[i*n : min((i+1)*n, len(all))])
			return nil
		})
	}
	_ = g.Wait() // they are in failed
	return errors.Join(failed...)
}
