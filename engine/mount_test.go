package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/internal/mountinfo"
	"github.com/volsnap/volsnap/internal/mounttree"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/inventory"
	"github.com/volsnap/volsnap/snapset"
)

// shelf is a host with one app of two volumes on a real Btrfs, and its driver with what a test puts in its way.
type shelf struct {
	*engine.Engine
	t     *testing.T
	app   engine.App
	set   driver.SetID
	paths []string
	at    string // a directory to mount at, which is not there

	mounted   atomic.Int64
	unmounted atomic.Int64
	before    func(context.Context, driver.Snapshot) error // of each mount
	volumes   func(*driver.Snapshot)                       // changes what is listed
}

// meddling is the driver of a shelf.
type meddling struct {
	*btrfs.Driver
	s *shelf
}

func (m meddling) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	all, err := m.Driver.Snapshots(ctx, ds...)
	all = slices.DeleteFunc(all, func(s driver.Snapshot) bool { return s.Set.App() != m.s.app.Name }) // other tests have file systems too
	for i := range all {
		if m.s.volumes != nil {
			m.s.volumes(&all[i])
		}
	}
	return all, err
}

func (m meddling) Mount(ctx context.Context, s driver.Snapshot, dir string) (func(context.Context) error, error) {
	m.s.mounted.Add(1)
	if m.s.before != nil {
		if err := m.s.before(ctx, s); err != nil {
			return nil, err
		}
	}
	return m.Driver.Mount(ctx, s, dir)
}

// Unmounted makes it a driver.Unmounter.
func (m meddling) Unmounted(context.Context, driver.Snapshot) error {
	m.s.unmounted.Add(1)
	return nil
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	top := testhost.Btrfs(t, 512<<20)
	work, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{t: t, app: engine.App{Name: fmt.Sprintf("shelf%d", os.Getpid())}, at: filepath.Join(work, "a look")}
	for _, name := range []string{"pg", "a b"} {
		path := filepath.Join(top, name)
		if out, err := exec.Command("btrfs", "-q", "subvolume", "create", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(path, "f"), []byte(name), 0o640), os.Symlink("/etc", filepath.Join(path, "link"))); err != nil {
			t.Fatal(err)
		}
		s.paths = append(s.paths, path)
		s.app.Volumes = append(s.app.Volumes, inventory.VolumeSpec{Path: path})
	}
	s.Engine = &engine.Engine{
		Drivers: []driver.Driver{meddling{btrfs.New(), s}}, Store: snapset.Store{Dir: filepath.Join(work, "state")},
		RunDir: filepath.Join(work, "run"), Zone: time.UTC, Now: time.Now,
	}
	m, err := s.Snapshot(t.Context(), s.app, engine.TakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.set = m.ID
	t.Cleanup(s.checkNothingLeft)
	return s
}

func (s *shelf) request() engine.MountRequest {
	return engine.MountRequest{Set: s.set, Dir: s.at, Apps: []engine.App{s.app}}
}

// checkNothingLeft looks for mounts, the directory, and the record.
func (s *shelf) checkNothingLeft() {
	s.t.Helper()
	all, err := mountinfo.Read()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range all {
		if _, in := mountinfo.Below(s.at, m.Point); in || strings.Contains(m.Root, string(s.set)) {
			s.t.Errorf("%s is mounted at %s", m.Root, m.Point)
		}
	}
	if _, err := os.Lstat(s.at); !errors.Is(err, os.ErrNotExist) {
		s.t.Errorf("%s: %v", s.at, err)
	}
	left, err := os.ReadDir(filepath.Join(s.RunDir, "mounted"))
	if err != nil && !errors.Is(err, os.ErrNotExist) || len(left) > 0 {
		s.t.Errorf("records: %v, %v", left, err)
	}
}

func TestMountShowsTheSet(t *testing.T) {
	s := newShelf(t)
	var want []tree.Digest
	for _, path := range s.paths {
		d, err := tree.Of(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
		if err := os.WriteFile(filepath.Join(path, "f"), []byte("later"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := s.Mount(t.Context(), s.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Volumes) != 2 || m.Set != string(s.set) || m.Dir != s.at {
		t.Fatalf("%+v", m)
	}
	for i, v := range m.Volumes {
		got, err := tree.Of(t.Context(), v.Path)
		if err != nil || got != want[i] || v.Volume != s.paths[i] {
			t.Errorf("%+v: %+v, %v; want %+v", v, got, err, want[i])
		}
	}
	if err := s.Delete(t.Context(), s.set); err == nil {
		t.Error("the set was deleted")
	}
	if err := s.Unmount(t.Context(), s.at, nil); err != nil {
		t.Fatal(err)
	}
	if s.mounted.Load() != 2 || s.unmounted.Load() != 2 {
		t.Errorf("%d mounts, %d undone", s.mounted.Load(), s.unmounted.Load())
	}
	if err := s.Unmount(t.Context(), s.at, nil); !errors.Is(err, engine.ErrNotMounted) {
		t.Errorf("once more: %v", err)
	}
}

// TestMountFailsWhole: when one member cannot be mounted, none stays so.
func TestMountFailsWhole(t *testing.T) {
	s := newShelf(t)
	fails := errors.New("fails")
	s.before = func(context.Context, driver.Snapshot) error {
		if s.mounted.Load() == 2 {
			return fails
		}
		return nil
	}
	if _, err := s.Mount(t.Context(), s.request(), nil); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	if s.unmounted.Load() != 2 {
		t.Errorf("of 2 mounts, %d were undone", s.unmounted.Load())
	}
}

// TestMountsAtOnce: of several at one directory one succeeds, and others elsewhere are not in its way.
func TestMountsAtOnce(t *testing.T) {
	s := newShelf(t)
	other := filepath.Join(filepath.Dir(s.at), "another")
	var g errgroup.Group
	var done, refused atomic.Int64
	for _, dir := range []string{s.at, other, s.at, other, s.at} {
		g.Go(func() error {
			req := s.request()
			req.Dir = dir
			_, err := s.Mount(t.Context(), req, nil)
			if errors.Is(err, engine.ErrUnfit) {
				refused.Add(1)
				return nil
			}
			done.Add(1)
			return err
		})
	}
	if err := g.Wait(); err != nil || done.Load() != 2 || refused.Load() != 3 {
		t.Errorf("%d mounted, %d refused, %v", done.Load(), refused.Load(), err)
	}
	for _, dir := range []string{s.at, other} {
		g.Go(func() error { return s.Unmount(t.Context(), dir, nil) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestMountInterrupted cleans up on its own time.
func TestMountInterrupted(t *testing.T) {
	s := newShelf(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(context.Context, driver.Snapshot) error {
		if s.mounted.Load() == 2 {
			cancel()
		}
		return nil
	}
	if _, err := s.Mount(ctx, s.request(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestMountWhileTheSetGoes: what a prune has begun to remove is not shown, however far the mount came.
func TestMountWhileTheSetGoes(t *testing.T) {
	s := newShelf(t)
	d := btrfs.New()
	s.before = func(ctx context.Context, one driver.Snapshot) error {
		if s.mounted.Load() == 1 {
			return d.Unseal(ctx, s.members()...)
		}
		return nil
	}
	if _, err := s.Mount(t.Context(), s.request(), nil); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("%v", err)
	}
	if err := d.Destroy(t.Context(), s.members()...); err != nil {
		t.Error(err)
	}
	if _, err := s.Mount(t.Context(), s.request(), nil); !errors.Is(err, engine.ErrNoSet) {
		t.Errorf("%v", err)
	}
}

func (s *shelf) members() []driver.Snapshot {
	s.t.Helper()
	set, err := s.Set(s.t.Context(), s.set)
	if err != nil {
		s.t.Fatal(err)
	}
	return set.Snapshots
}

// TestMountedStays: from the moment that a member is mounted, nobody unseals one of its set.
func TestMountedStays(t *testing.T) {
	s := newShelf(t)
	d := btrfs.New()
	s.before = func(ctx context.Context, one driver.Snapshot) error {
		if s.mounted.Load() == 2 {
			if err := d.Unseal(ctx, s.members()...); !errors.Is(err, driver.ErrBusy) {
				return fmt.Errorf("unsealed: %w", err)
			}
		}
		return nil
	}
	if _, err := s.Mount(t.Context(), s.request(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context(), s.at, nil); err != nil {
		t.Error(err)
	}
}

// TestMountFollowsNoPathOut: what a set says of where a volume lies may have been written by another host.
func TestMountFollowsNoPathOut(t *testing.T) {
	s := newShelf(t)
	for _, path := range []string{"..", "../..", "/etc", "link", "link/passwd", "none", "f/x", ""} {
		s.volumes = func(one *driver.Snapshot) { one.Volumes = []driver.Volume{{Name: "x", Path: path}} }
		if err := s.Store.Remove(s.set); err != nil { // it would contradict them
			t.Fatal(err)
		}
		if m, err := s.Mount(t.Context(), s.request(), nil); err == nil {
			t.Errorf("%q is shown: %+v", path, m)
			if err := s.Unmount(t.Context(), s.at, nil); err != nil {
				t.Fatal(err)
			}
		}
		s.checkNothingLeft()
	}
	s.volumes = func(one *driver.Snapshot) {
		one.Volumes = []driver.Volume{{Name: "../../x", Path: "f"}, {Name: ".volsnap", Path: "."}, {Name: "../../x", Path: "."}}
	}
	m, err := s.Mount(t.Context(), s.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Volumes {
		if filepath.Dir(v.Path) != s.at {
			t.Errorf("%+v", v)
		}
		if _, err := os.Stat(v.Path); err != nil {
			t.Error(err)
		}
	}
	if err := s.Unmount(t.Context(), s.at, nil); err != nil {
		t.Error(err)
	}
}

// TestUnmountDoesNotTrustTheDirectory: what lies over the tree is not ours, and a directory that somebody uses since stays.
func TestUnmountDoesNotTrustTheDirectory(t *testing.T) {
	s := newShelf(t)
	if _, err := s.Mount(t.Context(), s.request(), nil); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	run("mount", "-t", "tmpfs", "other", s.at)
	if err := s.Unmount(t.Context(), s.at, nil); !errors.Is(err, mounttree.ErrOther) {
		t.Errorf("below another mount: %v", err)
	}
	run("umount", s.at)
	run("umount", "-R", s.at)
	mine := filepath.Join(s.at, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context(), s.at, nil); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(mine), os.Remove(s.at)); err != nil {
		t.Error(err)
	}
}
