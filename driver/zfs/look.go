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
	host host
	rows map[string]row
}

// lookAt asks for snapshots by name, all in one listing.
func (d *Driver) lookAt(ctx context.Context, s []driver.Snapshot) (*look, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &look{table: newTable(), host: d.host, rows: map[string]row{}}
	seen := map[string]bool{}
	var names []string
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
	err := chunks(names, listNames, func(some []string) error {
		t := newTable()
		argv := []string{"zfs", "list", "-Hp", "-d", "0", "-t", "filesystem,volume,snapshot", "-o", columns() + ",clones"}
		if err := list(ctx, true, t.add, append(argv, some...)...); err != nil {
			return err
		}
		for name, guid := range t.guids {
			l.guids[name] = guid
		}
		for _, r := range t.rows {
			l.rows[r.name] = r
		}
		for name := range t.seen {
			l.seen[name] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// find is the snapshot if it is there, ours, without a fault, and the one that is meant; else ErrNotFound or ErrForeign.
func (l *look) find(s driver.Snapshot) (row, driver.Snapshot, error) {
	if err := checkAsked(s); err != nil {
		return row{}, s, err
	}
	r, there := l.rows[s.Name]
	if !there {
		if !l.host.imported(s.Dataset.Name) {
			return row{}, s, fmt.Errorf("%s: %w", poolOf(s.Dataset.Name), errNotImported)
		}
		return row{}, s, driver.ErrNotFound
	}
	now, ours := l.judge(r)
	switch {
	case !ours:
		return r, now, fmt.Errorf("no record says that volsnap made it: %w", driver.ErrForeign)
	case now.GUID != s.GUID:
		return r, now, fmt.Errorf("its GUID is %s, not %q: %w", now.GUID, s.GUID, driver.ErrForeign)
	case now.Fault != "":
		return r, now, fmt.Errorf("%s: %w", now.Fault, driver.ErrForeign)
	}
	return r, now, nil
}

// busy tells why a snapshot that is there cannot be destroyed now.
func (l *look) busy(r row, tags []string, mounted map[string]string) error {
	pins, others := pinsOf(tags)
	switch {
	case len(pins) > 0:
		return fmt.Errorf("pinned by %q: %w", pins, driver.ErrBusy)
	case len(others) > 0:
		return fmt.Errorf("held by others with the tags %q: %w", others, driver.ErrBusy)
	case len(r.clones) > 0:
		return fmt.Errorf("cloned as %q: %w", r.clones, driver.ErrBusy)
	case mounted[r.name] != "":
		return fmt.Errorf("mounted at %q: %w", mounted[r.name], driver.ErrBusy)
	}
	return nil
}

// free sorts what a caller wants to be rid of: those that are there and free, and for the others why not. What is gone is
// in neither.
func (d *Driver) free(ctx context.Context, s []driver.Snapshot) (free []row, stay []refusal, err error) {
	l, err := d.lookAt(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	var held []string
	for _, r := range l.rows {
		if r.held {
			held = append(held, r.name)
		}
	}
	slices.Sort(held)
	tags, err := holds(ctx, held)
	if err != nil {
		return nil, nil, err
	}
	mounted, err := mountedSnapshots()
	if err != nil {
		return nil, nil, err
	}
	chosen := map[string]bool{}
	for _, one := range s {
		r, _, err := l.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = l.busy(r, tags[r.name], mounted)
		}
		if err != nil {
			stay = append(stay, refusal{one, err})
		} else if !chosen[r.name] {
			chosen[r.name] = true
			free = append(free, r)
		}
	}
	slices.SortStableFunc(free, func(a, b row) int {
		return cmp.Or(strings.Compare(a.dataset, b.dataset), cmp.Compare(a.txg, b.txg))
	})
	return free, stay, nil
}

// refusal is a snapshot that stays, and why.
type refusal struct {
	snapshot driver.Snapshot
	why      error
}
