package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
)

// linked is a place to which a snapshot was fetched, whose volume is a symbolic link.
type linked struct{ staged int }

func (*linked) Mount(_ context.Context, _ driver.Snapshot, dir string) (func(context.Context) error, error) {
	link := filepath.Join(dir, "_data")
	return func(context.Context) error { return os.Remove(link) }, os.Symlink("/etc", link)
}

func (l *linked) StageOf(driver.Snapshot, string) (driver.Dataset, error) {
	return driver.Dataset{Kind: "x", Name: "stage"}, nil
}

func (l *linked) Stage(context.Context, driver.Snapshot, string) (driver.Stage, error) {
	l.staged++
	return driver.Stage{}, nil
}

// A backup server cannot have a volume of this host lead to another place of it.
func TestFetchedVolumeThatIsALink(t *testing.T) {
	from := &linked{}
	w := &Work{
		StateDir: t.TempDir(), Mounts: filepath.Join(t.TempDir(), "mounts"), Storages: map[string]Storage{"x": stagesOnly{}},
		Fetched: func(context.Context, driver.Dataset) (Source, error) { return from, nil },
	}
	s := driver.Snapshot{Dataset: driver.Dataset{Kind: "x"}, Volumes: []driver.Volume{{Name: "v", Path: "_data"}}}
	for name, restore := range map[string]func() error{
		"swap": func() error { return w.make(t.Context(), true, &Item{Method: Swap, Snapshot: s}) },
		"copy": func() error {
			path := tree(t, filepath.Join(t.TempDir(), "v"))
			return w.make(t.Context(), true, &Item{Method: Copy, Snapshot: s, Inside: "_data", Paths: []string{path}, Aside: path + ".aside"})
		},
		"beside": func() error {
			_, err := w.besides(t.Context(), "app-20261121T020000.123Z", []Clone{{Snapshot: s, Fetched: from}}, "to-1", nil)
			return err
		},
	} {
		if err := restore(); !errors.Is(err, unix.ELOOP) || from.staged > 0 {
			t.Errorf("%s: %v, %d stages; want ELOOP", name, err, from.staged)
		}
	}
}
