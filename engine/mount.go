package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/mounttree"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// What callers of Mount and Unmount branch on.
var (
	ErrNotMounted = errors.New("no set is mounted there by volsnap")
	ErrIncomplete = errors.New("the set is not complete")
)

// MountRequest asks for a set to be shown.
type MountRequest struct {
	Set  driver.SetID
	Dir  string        // absolute; empty, or not there yet
	From *MountedPlace // of the replica; nil: the set of this host
	Apps []App         // whose volumes Dir must not be in
}

// MountedPlace is a place of replicas on this host.
type MountedPlace struct {
	PlaceName
	As    string // what the operator calls it
	Place *replicate.Place
}

// OpenPlace opens a place of replicas by its name.
type OpenPlace func(PlaceName) (*replicate.Place, error)

// Mount shows a set at a directory: one entry a volume, which holds what the volume held, to be read by root. It stays when this
// process ends. Meanwhile nothing of the set can be destroyed. ErrUnfit: the directory is none for it. ErrIncomplete.
//
// When it fails, nothing is left. When the process is killed in it, what is left at Dir goes by Unmount, or by the next Mount there.
//
// It takes no lock of an app: to look into a set has to be possible while a run replicates for hours, and a run has to begin
// while somebody mounts. Instead the set is looked at once more when all of it is mounted, from when on it cannot go.
func (e *Engine) Mount(ctx context.Context, req MountRequest, open OpenPlace) (report.Mounting, error) {
	dir, there, err := settle(req.Dir)
	if err != nil {
		return report.Mounting{}, fmt.Errorf("%s: %w: %w", req.Dir, ErrUnfit, err)
	}
	e.stage("looking for " + string(req.Set))
	defer e.stage("")
	m := &mounting{engine: e, req: req, records: mountRecordsIn(e.RunDir)}
	sets, err := m.find(ctx)
	if err != nil {
		return report.Mounting{}, fmt.Errorf("mount %s: %w", req.Set, err)
	}
	existing := dir
	if !there {
		existing = filepath.Dir(dir)
	}
	if err := e.apart(ctx, dir, existing, req.Apps, sets); err != nil {
		return report.Mounting{}, err
	}
	left, err := m.records.leftAt(dir)
	if err == nil && left == nil {
		err = unused(dir)
	}
	if err != nil {
		return report.Mounting{}, err
	}
	if err := os.MkdirAll(m.records.dir, 0o700); err != nil {
		return report.Mounting{}, err
	}
	e.stage("waiting for another process that mounts or unmounts a set")
	err = m.records.alone(ctx, func() error { return m.mountAt(ctx, dir, open) })
	return m.record.Mounting, err
}

// leftAt is the record of what is not, or not all, at a directory: what a killed process or a boot has left.
func (r mountRecords) leftAt(dir string) (*mountRecord, error) {
	rec, err := r.read(dir)
	if err != nil || rec == nil || !rec.Done {
		return rec, err
	}
	there, err := mounttree.At(dir)
	if there || err != nil {
		return nil, nil // unused says what is there
	}
	return rec, nil
}

// mounting is one call of Mount.
type mounting struct {
	engine  *Engine
	req     MountRequest
	records mountRecords
	set     snapset.Set
	record  mountRecord
}

// find finds the set, and returns it with the other sets of this host.
func (m *mounting) find(ctx context.Context) (sets []snapset.Set, err error) {
	sets, err = m.engine.Sets(ctx, "")
	from := sets
	if m.req.From != nil {
		if err != nil {
			zerolog.Ctx(ctx).Debug().Err(err).Msg("could not list all sets of this host")
		}
		from, err = m.replicas(ctx)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	set, missing := setOf(from, m.req.Set)
	switch {
	case missing != nil && err != nil:
		return nil, err
	case missing != nil:
		return nil, ErrNoSet
	case !set.Complete:
		return nil, fmt.Errorf("%w: %v", ErrIncomplete, set.Manifest.Faults)
	}
	m.set = set
	return sets, nil
}

func (m *mounting) replicas(ctx context.Context) ([]snapset.Set, error) {
	l, err := m.req.From.Place.List(ctx, m.req.Set.App(), true)
	return l.Sets(), err
}

// again reports whether the set is still what was found.
func (m *mounting) again(ctx context.Context) error {
	sets, err := m.engine.Sets(ctx, m.req.Set.App())
	if m.req.From != nil {
		sets, err = m.replicas(ctx)
	}
	set, missing := setOf(sets, m.req.Set)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case missing != nil && err != nil:
		return err
	case missing != nil || !set.Complete:
		return fmt.Errorf("%w: somebody was removing it just now", driver.ErrChanged)
	}
	return nil
}

// mountAt does it, while nobody else mounts or unmounts sets.
func (m *mounting) mountAt(ctx context.Context, dir string, open OpenPlace) error {
	m.engine.stage("looking at " + dir)
	left, err := m.records.leftAt(dir)
	if err == nil && left != nil {
		zerolog.Ctx(ctx).Warn().Str("set", left.Set).Str("dir", dir).Msg("removing what a process that mounted a set there, or a boot, has left")
		err = m.engine.unmount(ctx, left, open)
	}
	if err == nil {
		err = unused(dir)
	}
	if err != nil {
		return err
	}
	_, lstat := os.Lstat(dir)
	m.note(dir, errors.Is(lstat, fs.ErrNotExist))
	if err = m.records.write(&m.record); err == nil {
		err = m.show(ctx)
	}
	if err == nil {
		m.record.Done = true
		err = m.records.write(&m.record)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("mount %s at %s: %w", m.req.Set, dir, err)
	if undo := m.engine.unmount(context.WithoutCancel(ctx), &m.record, open); undo != nil {
		err = errors.Join(err, fmt.Errorf("and what was mounted already stays until `volsnap umount`: %w", undo))
	}
	return err
}

// note fills the record in.
func (m *mounting) note(dir string, made bool) {
	var names []string
	for _, s := range m.set.Snapshots {
		for _, v := range s.Volumes {
			names = append(names, v.Name)
		}
	}
	m.record = mountRecord{
		Mounting: report.Mounting{Set: string(m.req.Set), Dir: dir, Volumes: []report.MountedVolume{}}, Made: made, Snapshots: m.set.Snapshots,
	}
	if from := m.req.From; from != nil {
		m.record.From, m.record.Place = from.As, &from.PlaceName
	}
	for i, entry := range entryNames(names) {
		m.record.Volumes = append(m.record.Volumes, report.MountedVolume{Volume: names[i], Path: filepath.Join(dir, entry)})
	}
}

// show mounts what the record says.
func (m *mounting) show(ctx context.Context) error {
	if m.record.Made {
		if err := os.Mkdir(m.record.Dir, 0o700); err != nil {
			m.record.Made = false
			return err
		}
		fault.Point("after making of a directory to mount at")
	}
	tree, err := mounttree.New(m.record.Dir)
	if err != nil {
		return err
	}
	err = m.fill(ctx, tree)
	return errors.Join(err, tree.Close())
}

func (m *mounting) fill(ctx context.Context, tree *mounttree.Tree) error {
	volume := 0
	for n, s := range m.set.Snapshots {
		m.engine.stage(fmt.Sprintf("mounting %s: member %d of %d", m.req.Set, n+1, len(m.set.Snapshots)))
		at, err := tree.Stage(n)
		if err != nil {
			return err
		}
		by, err := m.mounter(s.Dataset.Kind)
		if err != nil {
			return err
		}
		if _, err := by.Mount(ctx, s, at); err != nil { // unmount does what is to be done later, perhaps by another process
			return err
		}
		fault.Point("after mount of a snapshot")
		for _, v := range s.Volumes {
			shown := m.record.Volumes[volume]
			if err := tree.Show(n, v.Path, filepath.Base(shown.Path)); err != nil {
				return fmt.Errorf("volume %s: %w", shown.Volume, err)
			}
			volume++
		}
		if err := tree.Unstage(n); err != nil {
			return err
		}
	}
	if err := m.again(ctx); err != nil {
		return err
	}
	return tree.Finish()
}

func (m *mounting) mounter(kind string) (driver.Mounter, error) {
	if m.req.From == nil {
		return m.engine.driver(kind)
	}
	return m.req.From.Place.Mounter(kind)
}
