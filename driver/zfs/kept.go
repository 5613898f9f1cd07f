package zfs

import (
	"context"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/state"
)

// kept is what the driver and a place do alike with snapshots that are theirs. It holds nothing between calls: all state is
// in the pools.
type kept struct {
	host  host
	pace  driver.Pace // each batch is looked at anew
	uses  state.Uses  // what is being sent, and what is built on
	realm realm
}

// realm tells whose the snapshots of a pool are.
type realm interface {
	// see asks for datasets and snapshots by name, all in one listing. What does not exist is left out.
	see(ctx context.Context, names []string) (map[string]seen, error)
	// could is ErrForeign for what none of its snapshots is called.
	could(s driver.Snapshot) error
	// sealProperty is the user property that its seals are in.
	sealProperty() string
	// spare are those of some clones that are there for their snapshots alone, and keep none that they are clones of from being
	// destroyed: it goes with the last of them.
	spare(ctx context.Context, clones []string) (map[string]bool, error)
}

// seen is a snapshot that is there.
type seen struct {
	row
	now   driver.Snapshot // as it is listed, without pins, if it is ours
	ours  bool
	moved bool // known by its seal alone, since it lies under another dataset than when it was made

	// Of a replica:
	source   string   // the dataset that it is of, where it comes from
	own      string   // its own record
	borrowed *replica // the record of its file system, by which alone it is known
}

// useOf is what a snapshot that is in use is called among state.Uses.
func useOf(guid string) string { return "zfs-" + guid }

// made is the realm of the snapshots that were made on this host.
type made struct{}

func (made) sealProperty() string { return sealProp }

func (made) could(s driver.Snapshot) error { return checkAsked(s) }

func (made) see(ctx context.Context, names []string) (map[string]seen, error) {
	t := newTable()
	err := chunks(names, listNames, func(some []string) error {
		argv := []string{"zfs", "list", "-Hp", "-d", "0", "-t", "filesystem,volume,snapshot", "-o", columns() + ",clones"}
		return list(ctx, true, t.add, append(argv, some...)...)
	})
	if err != nil {
		return nil, err
	}
	if homes := t.strays(); len(homes) > 0 {
		sides, err := besides(ctx, homes)
		if err != nil {
			return nil, err
		}
		for _, side := range sides {
			t.addDataset(side)
		}
	}
	var doubtful []string
	out := map[string]seen{}
	for _, r := range t.rows {
		now, by := t.judge(r)
		out[r.name] = seen{row: r, now: now, ours: by != none, moved: t.moved(r)}
		if t.doubtful(r, by) {
			doubtful = append(doubtful, r.name)
		}
	}
	not, err := foreign(ctx, doubtful)
	for name := range not {
		one := out[name]
		one.ours = false
		out[name] = one
	}
	return out, err
}
