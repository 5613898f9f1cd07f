package btrfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

const (
	listers   = 4   // read records at a time
	listChunk = 128 // snapshots that one of them takes at a time
)

// Snapshots implements driver.Lister. It asks each file system once for its subvolumes and reads the record of each that
// lies in a store; no snapshot is opened.
func (d *Driver) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	l := lister{mounts: mountsOf(all)}
	if l.want, err = wanted(l.mounts, ds); err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []driver.Snapshot
	for _, tops := range l.fileSystems() {
		got, err := l.listFS(ctx, tops)
		if err != nil && stillMounted(tops) {
			return nil, fmt.Errorf("list snapshots at %s: %w", tops[0].Point, err)
		}
		out = append(out, got...)
	}
	inOrder(out)
	return out, nil
}

func inOrder(all []driver.Snapshot) {
	slices.SortStableFunc(all, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order))
	})
}

type lister struct {
	realm
	mounts mounts // of the host's realm
	want   *wants
}

// fileSystems are the mounts at whose top snapshots may lie, those of one file system together, each top once.
func (l lister) fileSystems() [][]mountinfo.Mount {
	var out [][]mountinfo.Mount
	at := map[string]int{}
	seen := map[place]bool{}
	for _, m := range l.mounts.whole {
		if seen[topOf(m)] {
			continue
		}
		_, err := os.Lstat(filepath.Join(m.Point, storeName))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // ENOTDIR: what is mounted is a file
		}
		seen[topOf(m)] = true
		if _, ok := at[m.Dev]; !ok {
			at[m.Dev] = len(out)
			out = append(out, nil)
		}
		out[at[m.Dev]] = append(out[at[m.Dev]], m)
	}
	return out
}

// stillMounted reports whether one of them is; what was unmounted while it was listed is not on this host.
func stillMounted(tops []mountinfo.Mount) bool {
	now, err := mountinfo.Read()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(tops, func(m mountinfo.Mount) bool {
		return slices.ContainsFunc(now, func(n mountinfo.Mount) bool { return n.ID == m.ID && n.Point == m.Point })
	})
}

// dirOf is a directory of a file system.
type dirOf struct{ tree, inode uint64 }

// listFS lists the stores of one file system.
func (l lister) listFS(ctx context.Context, tops []mountinfo.Mount) ([]driver.Snapshot, error) {
	var dirs []*keyDir
	defer func() { closeKeys(dirs) }()
	for _, m := range tops {
		got, err := l.openKeys(m)
		dirs = append(dirs, got...)
		if err != nil {
			return nil, err
		}
	}
	return l.listKeys(ctx, dirs)
}

func closeKeys(dirs []*keyDir) {
	for _, k := range dirs {
		closeAll(k.dir)
	}
}

// listKeys lists what lies in directories of one file system.
func (l lister) listKeys(ctx context.Context, dirs []*keyDir) ([]driver.Snapshot, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	found, err := subvolsNamed(dirs[0].dir, func(name string) bool {
		_, err := driver.ParseName(name)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	in := map[dirOf][]subvol{}
	for _, s := range found {
		in[dirOf{s.parent, s.dir}] = append(in[dirOf{s.parent, s.dir}], s)
	}
	for _, k := range dirs {
		k.found = in[k.at]
	}
	return l.read(ctx, dirs)
}

// read reads the records of what was found, some at a time.
func (l lister) read(ctx context.Context, dirs []*keyDir) ([]driver.Snapshot, error) {
	var results [][]*driver.Snapshot
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listers)
	for _, k := range dirs {
		source := l.sourceOf(k)
		result := make([]*driver.Snapshot, len(k.found))
		results = append(results, result)
		for from := 0; from < len(k.found); from += listChunk {
			g.Go(func() error {
				for i := from; i < min(from+listChunk, len(k.found)); i++ {
					if err := ctx.Err(); err != nil {
						return err
					}
					var err error
					if result[i], err = l.snapshot(k, k.found[i], source); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []driver.Snapshot
	for _, result := range results {
		for _, s := range result {
			if s != nil {
				out = append(out, *s)
			}
		}
	}
	return out, nil
}

// sourceOf is where the dataset of a directory lies, as its first readable record or the question tells; "" if neither does.
func (l lister) sourceOf(k *keyDir) string {
	for _, s := range k.found {
		set, err := driver.ParseName(s.name)
		if err != nil {
			continue
		}
		if r, err := readRecord(k.dir, set); err == nil {
			return r.Source
		}
	}
	if l.want != nil {
		for at := range l.want.places {
			if at.dev == k.dev && keyOf(at.inside) == filepath.Base(k.dir.Name()) {
				return at.inside
			}
		}
	}
	return ""
}

// snapshot is what is ours of a subvolume in a store: nil if nothing is, or if it was not asked for.
func (l lister) snapshot(k *keyDir, s subvol, source string) (*driver.Snapshot, error) {
	set, err := driver.ParseName(s.name)
	if err != nil {
		return nil, nil
	}
	out := driver.Snapshot{
		Name: filepath.Join(k.dir.Name(), s.name), Set: set, GUID: s.uuid.String(), Order: s.id, Taken: s.made,
	}
	if l.dir != "" {
		out.GUID = s.received.String()
	}
	r, err := readRecord(k.dir, set)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errDamaged):
		out.Sealed, out.Fault = true, err.Error() // sealed, so that nobody takes it for a left-over
	case err != nil:
		return nil, err
	default:
		ours, fault := r.judge(s)
		if !ours || !l.has(r) {
			return nil, nil
		}
		out.Fault, source = fault, r.Source
		r.fill(&out, s)
	}
	ds, ok := l.dataset(k, source)
	if !ok {
		return nil, nil
	}
	out.Dataset = ds
	return &out, nil
}

// dataset is what the snapshots in a directory are of, if it was asked for. That of replicas is the directory.
func (l lister) dataset(k *keyDir, source string) (driver.Dataset, bool) {
	if l.dir != "" {
		return l.want.as(k.dev, "", k.dir.Name())
	}
	name, ok := l.mounts.name(k.dev, source)
	if !ok || source == "" {
		name = cmp.Or(source, k.dir.Name())
	}
	return l.want.as(k.dev, source, name)
}

func (r record) fill(out *driver.Snapshot, s subvol) {
	out.Member, out.Of, out.Volumes, out.Pins = r.Member, r.Of, r.Volumes, r.Pins
	out.Sealed, out.Consistency, out.GUID = r.Sealed, r.Consistency, r.guid(s)
	if !r.Taken.IsZero() {
		out.Taken = r.Taken
	}
	if r.isReplica() {
		out.Received = s.arrived
	}
}
