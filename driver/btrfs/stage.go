package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// stagePrefix begins the names of stages, which lie beside the snapshots: STORE/KEY/stage-NAME.
const stagePrefix = "stage-"

// StageOf implements driver.Stager.
func (r realm) StageOf(s driver.Snapshot, name string) (driver.Dataset, error) {
	_, err := r.storeOf(s)
	if err == nil {
		err = driver.CheckStage(name)
	}
	if err != nil {
		return driver.Dataset{}, fmt.Errorf("stage of %q: %w", s.Name, err)
	}
	return driver.Dataset{Kind: Kind, Name: filepath.Join(filepath.Dir(s.Name), stagePrefix+name)}, nil
}

// Stage implements driver.Stager.
func (r realm) Stage(ctx context.Context, s driver.Snapshot, name string) (driver.Stage, error) {
	to, err := r.StageOf(s, name)
	if err != nil {
		return driver.Stage{}, err
	}
	out := driver.Stage{Dataset: to}
	err = r.withSnapshot(ctx, s, func(p *spot) error {
		key, err := openPrivateAt(filepath.Dir(s.Name))
		if err != nil {
			return err
		}
		defer closeAll(key)
		if err := clone(p, key, stagePrefix+name); err != nil {
			return err
		}
		made, err := openDirIn(key, stagePrefix+name)
		if err != nil {
			return err
		}
		defer closeAll(made)
		info, err := infoOf(made)
		out.GUID = info.uuid.String()
		return errors.Join(err, commit(key))
	})
	if err != nil {
		return driver.Stage{}, fmt.Errorf("stage %s: %w", s.Name, classify(err))
	}
	return out, nil
}

// Identity implements driver.Stager.
func (r realm) Identity(ctx context.Context, ds driver.Dataset) (string, error) {
	info, err := identify(ctx, ds)
	if err != nil {
		return "", fmt.Errorf("identify %s: %w", ds, classify(err))
	}
	return info.uuid.String(), nil
}

// identify looks at the subvolume whose top is at a path.
func identify(ctx context.Context, ds driver.Dataset) (subvol, error) {
	if err := ctx.Err(); err != nil {
		return subvol{}, err
	}
	if ds.Kind != Kind || !filepath.IsAbs(ds.Name) || filepath.Clean(ds.Name) != ds.Name {
		return subvol{}, driver.ErrNotSupported
	}
	f, err := openDir(ds.Name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return subvol{}, driver.ErrNotFound
	}
	if err != nil {
		return subvol{}, err
	}
	defer closeAll(f)
	if err := onBtrfs(f); err != nil {
		return subvol{}, err
	}
	return subvolAt(f)
}

// subvolAt describes the subvolume whose top is open; ErrNotFound for any other directory.
func subvolAt(f *os.File) (subvol, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return subvol{}, err
	}
	if st.Ino != firstFree {
		return subvol{}, fmt.Errorf("%s is no subvolume: %w", f.Name(), driver.ErrNotFound)
	}
	return infoOf(f)
}

// Attach implements driver.Stager: a subvolume is reached by its path.
func (r realm) Attach(ctx context.Context, st driver.Stage, _ string) (string, error) {
	guid, err := r.Identity(ctx, st.Dataset)
	if err == nil && guid != st.GUID {
		err = fmt.Errorf("attach %s: it is %s, not %s: %w", st.Dataset, guid, st.GUID, driver.ErrForeign)
	}
	return st.Dataset.Name, err
}

// Detach implements driver.Stager.
func (r realm) Detach(context.Context, driver.Stage, string) error { return nil }

// Swap implements driver.Stager, in one step: renameat2(2) with RENAME_EXCHANGE. A subvolume that is mounted by itself, as by
// a line of fstab(5), cannot be swapped: that mount would go on to show the other one.
func (r realm) Swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	if err := r.swap(ctx, ds, stage, guid); err != nil {
		return fmt.Errorf("swap %s and %s: %w", ds, stage, classify(err))
	}
	return nil
}

func (r realm) swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	if err := isStage(stage); err != nil {
		return err
	}
	at, err := identify(ctx, ds)
	if err != nil {
		return fmt.Errorf("%s: %w", ds, err)
	}
	if at.uuid.String() == guid {
		return nil
	}
	aside, err := identify(ctx, stage)
	if err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	if aside.uuid.String() != guid {
		return fmt.Errorf("they are %s and %s, not %s: %w", at.uuid, aside.uuid, guid, driver.ErrForeign)
	}
	if at.readOnly || aside.readOnly {
		return fmt.Errorf("one of them is read-only: %w", driver.ErrForeign)
	}
	if err := awaitUnmounted(ctx, ds.Name); err != nil {
		return err
	}
	dirs, err := sideBySide(filepath.Dir(ds.Name), filepath.Dir(stage.Name))
	if err != nil {
		return err
	}
	defer closeAll(dirs[:]...)
	return exchange(dirs, [2]string{filepath.Base(ds.Name), filepath.Base(stage.Name)}, [2]subvol{at, aside})
}

// exchange swaps what two names in open directories of one mount are.
func exchange(dirs [2]*os.File, names [2]string, are [2]subvol) error {
	for i := range dirs {
		if err := isAt(dirs[i], names[i], are[i]); err != nil {
			return err
		}
	}
	fault.Point("before swap")
	defer fault.Point("after swap")
	err := unix.Renameat2(int(dirs[0].Fd()), names[0], int(dirs[1].Fd()), names[1], unix.RENAME_EXCHANGE)
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: filepath.Join(dirs[0].Name(), names[0]), New: filepath.Join(dirs[1].Name(), names[1]), Err: err}
	}
	if err := errors.Join(isAt(dirs[0], names[0], are[1]), isAt(dirs[1], names[1], are[0])); err != nil {
		return fmt.Errorf("one of them was replaced meanwhile: %w", err)
	}
	return commit(dirs[0])
}

// isAt is ErrForeign if another subvolume than that has the name.
func isAt(dir *os.File, name string, want subvol) error {
	f, err := openDirIn(dir, name)
	if err != nil {
		return err
	}
	defer closeAll(f)
	info, err := subvolAt(f)
	if err == nil && info.uuid != want.uuid {
		err = fmt.Errorf("%s is %s, not %s: %w", f.Name(), info.uuid, want.uuid, driver.ErrForeign)
	}
	return err
}

// sideBySide opens a directory and that of a stage, both through a mount of its own of what is mounted where the stage lies: a rename
// does not go from one mount to another, and dockerd, for one, mounts its data root on itself.
func sideBySide(dir, stages string) (dirs [2]*os.File, err error) {
	all, err := mountinfo.Read()
	if err != nil {
		return dirs, err
	}
	via, inside, err := mountinfo.Containing(all, dir)
	if err != nil {
		return dirs, err
	}
	home, staged, err := mountinfo.Containing(all, stages)
	if err != nil {
		return dirs, err
	}
	at, ok := mountinfo.Below(home.Root, inside)
	if home.Dev != via.Dev || !ok {
		return dirs, fmt.Errorf("%s cannot be reached through %s, where the snapshots lie: %w", dir, home.Point, driver.ErrNotSupported)
	}
	top, err := alone(home.Point)
	if err != nil {
		return dirs, err
	}
	defer closeAll(top)
	aside, _ := mountinfo.Below(home.Root, staged)
	for i, path := range []string{at, aside} {
		fd, err := unix.Openat2(int(top.Fd()), path, &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			closeAll(dirs[:]...)
			return dirs, &os.PathError{Op: "open", Path: filepath.Join(home.Point, path), Err: err}
		}
		dirs[i] = os.NewFile(uintptr(fd), filepath.Join(home.Point, path))
	}
	return dirs, nil
}

// notMounted is ErrBusy if a dataset, or something in it, is mounted somewhere, or something else is mounted in it: that would go with
// the dataset, out of the sight of those who use it, and end with it.
func notMounted(ds string) error {
	all, err := mountinfo.Read()
	if err != nil {
		return err
	}
	if points := mountinfo.PointsIn(all, ds); len(points) > 0 {
		return fmt.Errorf("another file system is mounted in it, at %s: %w", listFew(points), driver.ErrBusy)
	}
	via, inside, err := mountinfo.Containing(all, ds)
	if err != nil {
		return err
	}
	busy, err := mountedSomewhere()
	if err != nil {
		return err
	}
	if busy(place{via.Dev, inside}) {
		return fmt.Errorf("%s, or a directory in it, is mounted by itself: %w", ds, driver.ErrBusy)
	}
	return nil
}

// unmountLimit is how long the kernel may take to give up the mounts of a namespace whose last process has ended.
const unmountLimit = 5 * time.Second

// awaitUnmounted is notMounted, but waits for mounts that are about to go, such as those of a container that has just ended.
func awaitUnmounted(ctx context.Context, ds string) error {
	ctx, cancel := context.WithTimeout(ctx, unmountLimit)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := notMounted(ds)
		if !errors.Is(err, driver.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// alone is another mount of what is mounted at a point, without what is mounted below it. It is nowhere in the tree of directories, and gone
// when the last of what was opened in it is closed.
func alone(point string) (*os.File, error) {
	dir, err := openDir(point)
	if err != nil {
		return nil, err
	}
	defer closeAll(dir)
	fd, err := unix.OpenTree(int(dir.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: point, Err: err}
	}
	return os.NewFile(uintptr(fd), point), nil
}

// isStage is ErrForeign for what cannot be a stage.
func isStage(ds driver.Dataset) error {
	key := filepath.Dir(ds.Name)
	name, ok := strings.CutPrefix(filepath.Base(ds.Name), stagePrefix)
	if ds.Kind != Kind || !ok || driver.CheckStage(name) != nil || !keyPattern.MatchString(filepath.Base(key)) || filepath.Clean(ds.Name) != ds.Name {
		return fmt.Errorf("%s is no stage: %w", ds, driver.ErrForeign)
	}
	return nil
}

// Settle implements driver.Stager, in one step. A subvolume's name is its path, so there is no other one.
func (r realm) Settle(ctx context.Context, st driver.Stage, _, at string) (driver.Dataset, error) {
	to := driver.Dataset{Kind: Kind, Name: at}
	if err := r.settle(ctx, st, at); err != nil {
		return to, fmt.Errorf("settle %s at %s: %w", st.Dataset, at, classify(err))
	}
	return to, nil
}

func (r realm) settle(ctx context.Context, st driver.Stage, at string) error {
	if err := isStage(st.Dataset); err != nil {
		return err
	}
	if !filepath.IsAbs(at) || filepath.Clean(at) != at || at == "/" {
		return fmt.Errorf("no clean absolute path: %w", driver.ErrNotSupported)
	}
	is, err := identify(ctx, st.Dataset)
	if err != nil {
		return err
	}
	if is.uuid.String() != st.GUID {
		return fmt.Errorf("it is %s, not %s: %w", is.uuid, st.GUID, driver.ErrForeign)
	}
	if _, err := os.Lstat(at); err == nil {
		return driver.ErrExists
	}
	dirs, err := sideBySide(filepath.Dir(at), filepath.Dir(st.Dataset.Name))
	if err != nil {
		return err
	}
	defer closeAll(dirs[:]...)
	return move(dirs, st, at)
}

// move moves a stage out of the second directory, into the first.
func move(dirs [2]*os.File, st driver.Stage, at string) error {
	fault.Point("before settling")
	defer fault.Point("after settling")
	err := unix.Renameat2(int(dirs[1].Fd()), filepath.Base(st.Dataset.Name), int(dirs[0].Fd()), filepath.Base(at), unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: st.Dataset.Name, New: at, Err: err}
	}
	return commit(dirs[0])
}

// Discard implements driver.Stager. What has changed is told by the transactions in which the dataset was written to last, and in
// which the snapshot was made: a snapshot is made where its transaction ends.
func (r realm) Discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	if err := r.discard(ctx, st, since); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return fmt.Errorf("discard %s: %w", st.Dataset, err)
	}
	return nil
}

func (r realm) discard(ctx context.Context, st driver.Stage, since *driver.Snapshot) error {
	if err := errors.Join(ctx.Err(), isStage(st.Dataset)); err != nil {
		return err
	}
	key, err := openPrivateAt(filepath.Dir(st.Dataset.Name))
	if err != nil {
		return classify(err)
	}
	defer closeAll(key)
	if err := commit(key); err != nil {
		return err
	}
	dir, err := openDirIn(key, filepath.Base(st.Dataset.Name))
	if err != nil {
		return classify(err)
	}
	defer closeAll(dir)
	info, err := subvolAt(dir)
	if err != nil {
		return err
	}
	if info.uuid.String() != st.GUID {
		return fmt.Errorf("it is %s, not %s: %w", info.uuid, st.GUID, driver.ErrForeign)
	}
	if since != nil {
		if err := r.unchanged(ctx, info, *since); err != nil {
			return err
		}
	}
	if err := awaitUnmounted(ctx, st.Dataset.Name); err != nil {
		return err
	}
	return errors.Join(classify(destroySubvol(key, info.id)), commit(key))
}

// unchanged is ErrChanged if a subvolume was written to after a snapshot of it was made.
func (r realm) unchanged(ctx context.Context, now subvol, since driver.Snapshot) error {
	return r.withSnapshot(ctx, since, func(p *spot) error {
		if p.info.from != now.uuid {
			return fmt.Errorf("%s is no snapshot of it: %w", since.Name, driver.ErrChanged)
		}
		if now.written > p.info.born {
			return fmt.Errorf("written to since %s was made: %w", since.Name, driver.ErrChanged)
		}
		return nil
	})
}
