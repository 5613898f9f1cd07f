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
	realm  realm
	host   host
	byName map[string]seen
}

// lookAt asks for snapshots by name, all in one listing.
func (k *kept) lookAt(ctx context.Context, s []driver.Snapshot) (*look, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	names, err := k.namesOf(s)
	if err != nil {
		return nil, err
	}
	l := &look{realm: k.realm, host: k.host}
	l.byName, err = k.realm.see(ctx, names)
	return l, err
}

// namesOf are the names of snapshots and of their datasets, each once. What no snapshot of ours is called is left out.
func (k *kept) namesOf(s []driver.Snapshot) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for _, one := range s {
		if k.realm.could(one) != nil {
			continue // find says so
		}
		if err := k.host.awake(one.Dataset.Name); err != nil {
			return nil, err
		}
		for _, name := range []string{one.Dataset.Name, liesIn(one), one.Name} {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// find is the snapshot if it is there, ours, without a fault, and the one that is meant; else ErrNotFound or ErrForeign.
func (l *look) find(s driver.Snapshot) (seen, error) {
	if err := l.realm.could(s); err != nil {
		return seen{}, err
	}
	r, there := l.byName[s.Name]
	switch {
	case !there && !l.host.imported(s.Dataset.Name):
		return r, fmt.Errorf("%s: %w", poolOf(s.Dataset.Name), errNotImported)
	case !there:
		return r, driver.ErrNotFound
	case !r.ours:
		return r, fmt.Errorf("no record of its own says that volsnap made it: %w", driver.ErrForeign)
	case r.guid != s.GUID:
		return r, fmt.Errorf("its GUID is %s, not %q: %w", r.guid, s.GUID, driver.ErrForeign)
	case r.now.Fault != "":
		return r, fmt.Errorf("%s: %w", r.now.Fault, driver.ErrForeign)
	}
	return r, nil
}

// refusal is a snapshot that stays, and why.
type refusal struct {
	snapshot driver.Snapshot
	why      error
}

// freed sorts what a caller wants to be rid of: those that are there and that nothing keeps, and for the others why not. What
// is gone is in neither. Until release is called nobody begins to send those that are free, or to receive on top of them.
type freed struct {
	free    []seen
	stay    []refusal
	release func()
}

// free sorts snapshots. The caller must release them.
func (k *kept) free(ctx context.Context, s []driver.Snapshot) (*freed, error) {
	done, err := k.alone(ctx, s)
	if err != nil {
		return nil, err
	}
	f, err := k.sort(ctx, s)
	if err != nil {
		done()
		return nil, err
	}
	unclaim := f.release
	f.release = func() { unclaim(); done() }
	return f, nil
}

func (k *kept) sort(ctx context.Context, s []driver.Snapshot) (*freed, error) {
	l, err := k.lookAt(ctx, s)
	if err != nil {
		return nil, err
	}
	tags, err := l.holds(ctx)
	if err != nil {
		return nil, err
	}
	mounted, err := inTheWay(l.byName)
	if err != nil {
		return nil, err
	}
	spare, err := k.realm.spare(ctx, l.clones())
	if err != nil {
		return nil, err
	}
	used, release, err := k.uses.Claim(l.usesOf(s)...)
	if err != nil {
		return nil, err
	}
	out := &freed{release: release}
	chosen := map[string]bool{}
	for _, one := range s {
		r, err := l.find(one)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err == nil {
			err = busy(r.row, tags[r.name], mounted, spare)
		}
		if err == nil && used[useOf(r.guid)] {
			err = fmt.Errorf("a stream of it, or on top of it, is under way: %w", driver.ErrBusy)
		}
		if err != nil {
			out.stay = append(out.stay, refusal{one, err})
		} else if !chosen[r.name] {
			chosen[r.name] = true
			out.free = append(out.free, r)
		}
	}
	slices.SortStableFunc(out.free, func(a, b seen) int {
		return cmp.Or(strings.Compare(a.dataset, b.dataset), cmp.Compare(a.txg, b.txg))
	})
	return out, nil
}

// usesOf are the names of the uses of those that can be found.
func (l *look) usesOf(s []driver.Snapshot) []string {
	var names []string
	for _, one := range s {
		if r, err := l.find(one); err == nil {
			names = append(names, useOf(r.guid))
		}
	}
	return names
}

// holds are the tags of all that are held.
func (l *look) holds(ctx context.Context) (map[string][]string, error) {
	var held []string
	for _, r := range l.byName {
		if r.held {
			held = append(held, r.name)
		}
	}
	return holds(ctx, held)
}

// clones are those of all that was found.
func (l *look) clones() []string {
	var all []string
	for _, r := range l.byName {
		all = append(all, r.clones...)
	}
	return all
}

// busy tells why a snapshot that is there cannot be destroyed now.
func busy(r row, tags []string, mounted map[string]string, spare map[string]bool) error {
	pins, others := pinsOf(tags)
	clones := slices.DeleteFunc(slices.Clone(r.clones), func(clone string) bool { return spare[clone] })
	switch {
	case len(pins) > 0:
		return fmt.Errorf("pinned by %q: %w", pins, driver.ErrBusy)
	case len(others) > 0:
		return fmt.Errorf("held by others with the tags %q: %w", others, driver.ErrBusy)
	case len(clones) > 0:
		return fmt.Errorf("cloned as %q: %w", clones, driver.ErrBusy)
	case mounted[r.name] != "":
		return fmt.Errorf("mounted, and maybe in use, at %q: %w", mounted[r.name], driver.ErrBusy)
	}
	return nil
}
