package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// errNotImported keeps "gone" from being said of what is only not here.
var errNotImported = errors.New("the pool is not imported")

// look is what is to be seen now of the snapshots that a caller named.
type look struct {
	*table
	host    host
	byName  map[string]row
	foreign map[string]bool // their record was not set on them
}

// lookAt asks for snapshots by name, all in one listing.
func (d *Driver) lookAt(ctx context.Context, s []driver.Snapshot) (*look, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &look{table: newTable(), host: d.host, byName: map[string]row{}}
	names, err := d.namesOf(s)
	if err != nil {
		return nil, err
	}
	err = chunks(names, listNames, func(some []string) error {
		argv := []string{"zfs", "list", "-Hp", "-d", "0", "-t", "filesystem,volume,snapshot", "-o", columns() + ",clones"}
		return list(ctx, true, l.add, append(argv, some...)...)
	})
	if err != nil {
		return nil, err
	}
	var doubtful []string
	for _, r := range l.rows {
		l.byName[r.name] = r
		if _, by := l.judge(r); l.doubtful(r, by) {
			doubtful = append(doubtful, r.name)
		}
	}
	l.foreign, err = foreign(ctx, doubtful)
	return l, err
}

// namesOf are the names of snapshots and of their datasets, each once. What no snapshot of ours is called is left out.
func (d *Driver) namesOf(s []driver.Snapshot) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for _, one := range s {
		if checkAsked(one) != nil {
			continue // find says so
		}
		if err := d.host.awake(one.Dataset.Name); err != nil {
			return nil, err
		}
		for _, name := range []string{one.Dataset.Name, one.Name} {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// find is the snapshot if it is there, ours, without a fault, and the one that is meant; else ErrNotFound or ErrForeign.
func (l *look) find(s driver.Snapshot) (row, driver.Snapshot, error) {
	if err := checkAsked(s); err != nil {
		return row{}, s, err
	}
	r, there := l.byName[s.Name]
	if !there {
		if !l.host.imported(s.Dataset.Name) {
			return row{}, s, fmt.Errorf("%s: %w", poolOf(s.Dataset.Name), errNotImported)
		}
		return row{}, s, driver.ErrNotFound
	}
	now, by := l.judge(r)
	switch {
	case by == none || l.foreign[s.Name]:
		return r, now, fmt.Errorf("no record of its own says that volsnap made it: %w", driver.ErrForeign)
	case now.GUID != s.GUID:
		return r, now, fmt.Errorf("its GUID is %s, not %q: %w", now.GUID, s.GUID, driver.ErrForeign)
	case now.Fault != "":
		return r, now, fmt.Errorf("%s: %w", now.Fault, driver.ErrForeign)
	}
	return r, now, nil
}

// candidate is a snapshot of ours that nothing keeps from being destroyed.
type candidate struct {
	row
	now   driver.Snapshot
	moved bool
}

// refusal is a snapshot that stays, and why.
type refusal struct {
	snapshot driver.Snapshot
	why      error
}

// free sorts what a caller wants to be rid of: those that are there and free, and for the others why not. What is gone is
// in neither.
func (d *Driver) free(ctx context.Context, s []driver.Snapshot) (free []candidate, stay []refusal, err error) {
	l, err := d.lookAt(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	tags, err := l.holds(ctx)
	if err != nil {
		return nil, nil, err
	}
	mounted, err := inTheWay(l.byName)
	if err != nil {
		return nil, nil, err
	}
	chosen := map[string]bool{}
	for _, one := range s {
		r, now, err := l.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = busy(r, tags[r.name], mounted)
		}
		if err != nil {
			stay = append(stay, refusal{one, err})
		} else if !chosen[r.name] {
			chosen[r.name] = true
			free = append(free, candidate{row: r, now: now, moved: l.moved(r)})
		}
	}
	slices.SortStableFunc(free, func(a, b candidate) int {
		return cmp.Or(strings.Compare(a.dataset, b.dataset), cmp.Compare(a.txg, b.txg))
	})
	return free, stay, nil
}

// holds are the tags of all that are held.
func (l *look) holds(ctx context.Context) (map[string][]string, error) {
	var held []string
	for _, r := range l.rows {
		if r.held {
			held = append(held, r.name)
		}
	}
	return holds(ctx, held)
}

// busy tells why a snapshot that is there cannot be destroyed now.
func busy(r row, tags []string, mounted map[string]string) error {
	pins, others := pinsOf(tags)
	switch {
	case len(pins) > 0:
		return fmt.Errorf("pinned by %q: %w", pins, driver.ErrBusy)
	case len(others) > 0:
		return fmt.Errorf("held by others with the tags %q: %w", others, driver.ErrBusy)
	case len(r.clones) > 0:
		return fmt.Errorf("cloned as %q: %w", r.clones, driver.ErrBusy)
	case mounted[r.name] != "":
		return fmt.Errorf("mounted, and maybe in use, at %q: %w", mounted[r.name], driver.ErrBusy)
	}
	return nil
}
