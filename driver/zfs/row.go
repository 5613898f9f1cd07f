package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
)

const unset = "-" // what -H prints for a property that is not set

// columns are what is asked of datasets and snapshots; clones are added where somebody means to destroy.
func columns() string {
	return strings.Join(append([]string{
		"name", "guid", "createtxg", "creation", "userrefs", "origin", "defer_destroy", sideProp, sealProp,
	}, recordProps()...), ",")
}

// row is a line of a listing.
type row struct {
	name, dataset, snap string // snap is "" for a dataset
	guid                string
	txg                 uint64
	creation            time.Time
	held                bool
	origin, side        string // of a dataset, "" if not set: the snapshot that it is a clone of, and what volsnap made it for
	deferred            bool   // it was destroyed, and is there for its clones alone
	seal, record        string // "" if not set
	clones              []string
}

// parseRow reads what was asked by columns, and clones perhaps. A name has no tabs, but a value may, if others have set it:
// such a line is refused, since nothing says what in it is true.
func parseRow(f []string) (row, error) {
	const fixed = 9
	if len(f) != fixed+valueParts && len(f) != fixed+valueParts+1 {
		return row{}, fmt.Errorf("zfs list: %d columns in the line of %q", len(f), f[0])
	}
	r := row{name: f[0], guid: f[1]}
	r.dataset, r.snap, _ = strings.Cut(r.name, "@")
	txg, err := strconv.ParseUint(f[2], 10, 64)
	seconds, err2 := strconv.ParseInt(f[3], 10, 64)
	if err != nil || err2 != nil || !validGUID(r.guid) || checkName(r.dataset) != nil {
		return row{}, fmt.Errorf("zfs list: what is %q?", f[:4])
	}
	r.txg, r.creation = txg, time.Unix(seconds, 0)
	r.held = f[4] != "0" && f[4] != unset
	r.origin, r.deferred, r.side, r.seal = value(f[5]), f[6] == "on", value(f[7]), value(f[8])
	for _, part := range f[fixed : fixed+valueParts] {
		r.record += value(part)
	}
	if len(f) > fixed+valueParts && f[len(f)-1] != unset && f[len(f)-1] != "" {
		r.clones = strings.Split(f[len(f)-1], ",")
	}
	return r, nil
}

func value(field string) string {
	if field == unset {
		return ""
	}
	return field
}

// table is what a listing gave: the GUIDs of datasets, and the snapshots whose name could be ours.
type table struct {
	guids   map[string]string // by the dataset's name
	origins map[string]string // by the dataset's name, of clones
	marks   map[string]string // volsnap:side, by the dataset's name
	homes   map[string]string // by the dataset's name, of those at the side of another: that one
	txgs    map[string]uint64 // by the name of any snapshot
	rows    []row
	seen    map[string]bool
	records map[string]parsed // by value: the members of a set have the same
}

type parsed struct {
	record *record
	err    error
}

func newTable() *table {
	return &table{
		guids: map[string]string{}, origins: map[string]string{}, marks: map[string]string{}, homes: map[string]string{}, txgs: map[string]uint64{},
		seen: map[string]bool{}, records: map[string]parsed{},
	}
}

// add takes a line. A name that comes twice was forged by a property with a line break in it.
func (t *table) add(fields []string) error {
	r, err := parseRow(fields)
	if err != nil {
		return err
	}
	if t.seen[r.name] {
		return fmt.Errorf("zfs list: %q is listed twice; does a user property of it, or beside it, have a line break?", r.name)
	}
	t.seen[r.name] = true
	if r.snap == "" {
		t.addDataset(r)
		return nil
	}
	t.txgs[r.name] = r.txg
	if _, err := driver.ParseName(r.snap); err == nil && !r.deferred {
		t.rows = append(t.rows, r)
	}
	return nil
}

func (t *table) addDataset(r row) {
	t.guids[r.name], t.marks[r.name] = r.guid, r.side
	if r.origin != "" {
		t.origins[r.name] = r.origin
	}
	if home, is := sideOf(r.name, r.side); is {
		t.homes[r.name] = home
	}
}

func (t *table) parse(value string) (*record, error) {
	p, known := t.records[value]
	if !known {
		p.record, p.err = parseRecord(value)
		t.records[value] = p
	}
	return p.record, p.err
}

// proof is what shows that a snapshot is ours.
type proof int

const (
	none     proof = iota
	byRecord       // if that is its own and not inherited, see foreign
	bySeal         // which names its GUID
)

// judge is what the row says, if it is ours, and by what. Pins are not in a row.
func (t *table) judge(r row) (s driver.Snapshot, by proof) {
	set, err := driver.ParseName(r.snap)
	if err != nil {
		return s, none
	}
	s = driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: t.home(r.dataset)}, Name: r.name, Set: set, GUID: r.guid, Order: r.txg,
		Taken: r.creation, Sealed: r.seal != "", Lines: t.lines(r),
	}
	m, markErr := parseMark(r.seal)
	member, mine := m.members[r.guid] // the seal was set on this very snapshot
	rec, recErr := t.parse(r.record)
	switch {
	case recErr != nil && !mine:
		return s, none
	case recErr != nil:
		s.Fault = recErr.Error()
		return s, bySeal
	case rec.Set != set:
		return s, none
	}
	it, found := rec.of(func(it item) bool {
		if mine {
			return it.Member == member
		}
		return t.isOf(it.Dataset, r)
	})
	switch {
	case !found && !mine:
		return s, none
	case !found:
		s.Fault = fmt.Sprintf("is sealed as member %d, of which its record knows nothing", member)
		return s, bySeal
	case r.seal != "" && markErr != nil:
		s.Fault = "has a seal that volsnap did not write"
	case r.seal != "" && !mine:
		s.Fault = "has a seal that was set on other snapshots"
	}
	s.Member, s.Of, s.Volumes = it.Member, rec.Of, slices.Clone(it.Volumes)
	if !mine {
		return s, byRecord
	}
	s.Taken = m.taken
	if s.Sealed = m.class != unsealed; s.Sealed {
		s.Consistency = m.class
	}
	return s, bySeal
}

// moved reports whether a snapshot is known by its seal alone, since it lies under another dataset than when it was made, and none of
// those that have been one after the other in one place.
func (t *table) moved(r row) bool {
	rec, err := t.parse(r.record)
	if err != nil {
		return false
	}
	_, named := rec.of(func(it item) bool { return t.isOf(it.Dataset, r) })
	return !named
}

// doubtful reports whether a snapshot is to be looked at by foreign: one without a seal of its own, which is what is being
// made and what killed runs left, and one that lies under another dataset than when it was made. That is a copy that
// somebody sent with its properties, or the dataset's clone was promoted.
func (t *table) doubtful(r row, by proof) bool { return by == byRecord || by == bySeal && t.moved(r) }

// foreign finds those whose record was not set on them (zfsprops(7), source "local"), and those that are gone meanwhile. It
// came with a stream, or from the dataset: a copy has the name, the GUID and the seal of what it is a copy of, and may be
// somebody's only backup once that was pruned.
func foreign(ctx context.Context, names []string) (map[string]bool, error) {
	not := map[string]bool{}
	for _, name := range names {
		not[name] = true
	}
	add := func(f []string) error {
		if len(f) != 2 {
			return fmt.Errorf("zfs get: what is %q?", f)
		}
		if f[1] == "local" {
			delete(not, f[0])
		}
		return nil
	}
	err := chunks(names, listNames, func(some []string) error {
		return list(ctx, true, add, append([]string{"zfs", "get", "-Hp", "-t", "snapshot", "-o", "name,source", recordProp}, some...)...)
	})
	return not, err
}
