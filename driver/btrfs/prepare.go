package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// Prepare implements driver.Taker. It opens each dataset and the directory that its snapshot will lie in, so that Take
// needs no path any more, and leaves an intent beside each place where a snapshot will be.
func (d *Driver) Prepare(ctx context.Context, req driver.Request) (driver.Group, error) {
	g, err := prepare(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", req.Set, classify(err))
	}
	return g, nil
}

func prepare(ctx context.Context, req driver.Request) (*group, error) {
	if err := errors.Join(ctx.Err(), req.Check(Kind)); err != nil {
		return nil, err
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	g := &group{set: req.Set, processors: len(req.Items)}
	addProcessors(g.processors)
	err = g.open(ctx, mountsOf(all), req)
	if err == nil {
		err = g.intend(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close(context.WithoutCancel(ctx)))
	}
	return g, nil
}

// open opens what the request names, and checks that it is one subvolume each, on one file system.
func (g *group) open(ctx context.Context, ms mounts, req driver.Request) error {
	pool := ""
	for _, it := range req.Items {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := openSource(ms, it.Dataset)
		if err != nil {
			return fmt.Errorf("%s: %w", it.Dataset, err)
		}
		g.members = append(g.members, m)
		m.record = record{
			Version: recordVersion, Set: req.Set, Member: it.Member, Of: req.Of, Volumes: slices.Clone(it.Volumes),
			Source: m.inside, SourceUUID: m.info.uuid.String(),
		}
		if err := m.check(); err != nil {
			return fmt.Errorf("%s: %w", it.Dataset, err)
		}
		if pool == "" {
			pool = m.pool
		}
		if m.pool != pool {
			return fmt.Errorf("%s: is on the file system %s, not on %s", it.Dataset, m.pool, pool)
		}
		whole := slices.ContainsFunc(it.Volumes, func(v driver.Volume) bool { return v.Path == "." })
		if m.home, err = ms.home(m.dev, m.inside, whole); err != nil {
			return fmt.Errorf("%s: %w", it.Dataset, err)
		}
	}
	return nil
}

// openSource opens the top of a subvolume.
func openSource(ms mounts, ds driver.Dataset) (*member, error) {
	real, err := filepath.EvalSymlinks(ds.Name)
	if err != nil {
		return nil, err
	}
	if real != ds.Name {
		return nil, fmt.Errorf("its path is not plain, but %s: %w", real, driver.ErrNotFound)
	}
	src, err := openDir(real)
	if err != nil {
		return nil, err
	}
	m := &member{ds: ds, src: src}
	if err := m.look(ms, real); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return m, nil
}

func (m *member) look(ms mounts, at string) error {
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(int(m.src.Fd()), &st), onBtrfs(m.src)); err != nil {
		return err
	}
	if st.Ino != firstFree {
		return fmt.Errorf("is no subvolume: %w", driver.ErrNotSupported)
	}
	m.id = st.Dev
	var err error
	if m.info, err = infoOf(m.src); err != nil {
		return err
	}
	if m.pool, err = fsUUID(m.src); err != nil {
		return err
	}
	via, inside, err := mountinfo.Containing(ms.all, at)
	m.dev, m.inside = via.Dev, inside
	return err
}

// onBtrfs is ErrNotSupported for what is on another kind of file system.
func onBtrfs(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	if st.Type != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("its file system is %s, not Btrfs: %w", fsName(st.Type), driver.ErrNotSupported)
	}
	return nil
}

// intend makes the directories, removes what killed runs intended there, and writes the intents.
func (g *group) intend(ctx context.Context) error {
	if err := g.openStores(ctx); err != nil {
		return err
	}
	defer g.unlock()
	var all []write
	for _, m := range g.members {
		if err := m.claim(g.stores[topOf(m.home)]); err != nil {
			return err
		}
		all = append(all, write{m.dir, m.record})
	}
	if len(all) == 0 {
		return nil
	}
	for _, m := range g.members {
		m.intended = true
	}
	return writeRecords(all[0].dir, all)
}

// openStores opens and locks the stores that the group needs.
func (g *group) openStores(ctx context.Context) error {
	g.stores = map[place]*os.File{}
	for _, m := range g.members {
		if g.stores[topOf(m.home)] != nil {
			continue
		}
		store, err := makeStore(m.home.Point)
		if err != nil {
			return err
		}
		g.stores[topOf(m.home)] = store
	}
	return lockAll(ctx, g.stores)
}

func makeStore(top string) (*os.File, error) {
	dir, err := openDir(top)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return makePrivate(dir, storeName)
}

// claim opens the directory of a member's snapshot, and finds the snapshot's name free there. Until the group is closed
// the directory carries a shared lock: what is intended in it is not swept.
func (m *member) claim(store *os.File) error {
	var err error
	if m.dir, err = makePrivate(store, keyOf(m.inside)); err != nil {
		return err
	}
	if err := sweep(m.dir); err != nil {
		return err
	}
	if ok, err := tryLock(m.dir, unix.LOCK_SH); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("lock %s: %w", m.dir.Name(), driver.ErrBusy))
	}
	for _, name := range []string{m.name(), m.name() + recordExt, m.name() + sealedExt} {
		there, err := exists(m.dir, name)
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("%s: %w", filepath.Join(m.dir.Name(), name), driver.ErrExists)
		}
	}
	return nil
}
