package zfs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// place is the realm of the replicas below a file system: in its children, of which each holds those of one dataset.
type place struct{ name string }

func (place) sealProperty() string { return replicaSeal }

// holds reports whether a file system would be one of the place's own.
func (p place) holds(dataset string) bool {
	key, below := strings.CutPrefix(dataset, p.name+"/")
	return below && keyPattern.MatchString(key)
}

func (p place) could(s driver.Snapshot) error {
	if err := checkAsked(s); err != nil {
		return err
	}
	if !p.holds(s.Dataset.Name) || liesIn(s) != s.Dataset.Name {
		return fmt.Errorf("it is not in %s: %w", p.name, driver.ErrForeign)
	}
	return nil
}

func (p place) see(ctx context.Context, names []string) (map[string]seen, error) {
	v, err := p.look(ctx, names)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(v.snapshots, func(_ string, one seen) bool { return one.deferred })
	return v.snapshots, nil
}

// look asks for file systems and snapshots by name.
func (p place) look(ctx context.Context, names []string) (*view, error) {
	got := facts{}
	err := chunks(names, listNames, func(some []string) error {
		return list(ctx, true, got.add, got.argv("0", some...)...)
	})
	if err != nil {
		return nil, err
	}
	return p.view(got)
}

// all asks for everything in the place, by one command.
func (p place) all(ctx context.Context) (*view, error) {
	return p.below(ctx, "2", p.name)
}

// below asks for file systems and what is in them.
func (p place) below(ctx context.Context, depth string, names ...string) (*view, error) {
	got := facts{}
	err := list(ctx, true, got.add, got.argv(depth, names...)...)
	if err != nil {
		return nil, err
	}
	return p.view(got)
}

// view is what of a place was looked at.
type view struct {
	there     map[string]bool   // whatever was listed
	snapshots map[string]seen   // in children of the place, whosoever they are
	children  map[string]*child // by name
}

// child is a file system of the place.
type child struct {
	name   string
	intent *replica // what came last, or is about to come; nil if volsnap did not make the file system
	token  string   // of a stream that broke; "" if there is none
	origin string   // the replica that it is a clone of, see arrival.branch; "" if there is none
}

// spare implements realm: the file systems of a place are there for their replicas alone.
func (p place) spare(ctx context.Context, clones []string) (map[string]bool, error) {
	out := map[string]bool{}
	clones = slices.DeleteFunc(clones, func(name string) bool { return !p.holds(name) })
	if len(clones) == 0 {
		return out, nil
	}
	v, err := p.look(ctx, clones)
	if err != nil {
		return nil, err
	}
	for name, c := range v.children {
		out[name] = c.intent != nil
	}
	return out, nil
}

// view sorts what was listed.
func (p place) view(all facts) (*view, error) {
	v := &view{there: map[string]bool{}, snapshots: map[string]seen{}, children: map[string]*child{}}
	for name, props := range all {
		if err := props.complete(name); err != nil {
			return nil, err
		}
		v.there[name] = true
		if p.holds(name) {
			v.children[name] = childOf(name, props)
		}
	}
	for name, props := range all {
		dataset, _, isSnapshot := strings.Cut(name, "@")
		if !isSnapshot || !p.holds(dataset) {
			continue
		}
		r, err := props.row(name)
		if err != nil {
			return nil, err
		}
		one := seen{row: r}
		one.now, one.ours = v.judge(r, props)
		one.ours = one.ours && !r.deferred
		if rec, _ := v.recordOf(r, props); one.ours && rec != nil {
			one.source = rec.Source
			if one.own = props[replicaProp].value; props[replicaProp].source != local {
				one.own, one.borrowed = "", rec
			}
		}
		v.snapshots[name] = one
	}
	for name, one := range v.snapshots {
		one.now.Lines = v.lines(one.row)
		v.snapshots[name] = one
	}
	return v, nil
}

// lines are the file systems that hold what a replica came out of, if it lies in a clone of another one.
func (v *view) lines(r row) (out []driver.Line) {
	at, last := r.dataset, r.txg
	for range deepest {
		_, id := split(at)
		out = append(out, driver.Line{ID: id, Order: last})
		c := v.children[at]
		if c == nil {
			break
		}
		origin, known := v.snapshots[c.origin]
		if !known {
			break
		}
		at, last = origin.dataset, origin.txg
	}
	if len(out) == 1 {
		return nil
	}
	return out
}

// childOf is what the properties of a file system say. Its record has to be its own: what it has inherited, or what came with
// a stream that somebody else received, proves nothing.
func childOf(name string, props properties) *child {
	c := &child{name: name, token: value(props["receive_resume_token"].value), origin: value(props["origin"].value)}
	if rec := props[replicaProp]; rec.source == local && props["type"].value == "filesystem" {
		c.intent, _ = parseReplica(rec.value) // one that is damaged is none
	}
	return c
}

// judge is what a snapshot is, if it is ours. Its own record says so, or that of its file system, if it names the snapshot's
// GUID: the snapshot had arrived, and its process was killed.
func (v *view) judge(r row, props properties) (s driver.Snapshot, ours bool) {
	set, err := driver.ParseName(r.snap)
	if err != nil {
		return s, false
	}
	s = driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: r.dataset}, Name: r.name, Set: set, GUID: r.guid, Order: r.txg,
	}
	rec, err := v.recordOf(r, props)
	if rec == nil || rec.Set != set {
		if r.seal == "" || err == nil {
			return s, false
		}
		s.Fault = err.Error()
		ours = v.sealed(&s, r)
		return s, ours
	}
	rec.fill(&s)
	if rec.GUID != r.guid {
		s.Fault = fmt.Sprintf("has the GUID %s, not %s as when it arrived", r.guid, rec.GUID)
	}
	if r.seal != "" && !v.sealed(&s, r) && s.Fault == "" {
		s.Fault = "has a seal that volsnap did not set on it"
	}
	return s, true
}

// recordOf is the record of a snapshot: its own, or else that of its file system, if it is of this very snapshot.
func (v *view) recordOf(r row, props properties) (*replica, error) {
	if props[replicaProp].source == local {
		return parseReplica(props[replicaProp].value)
	}
	c := v.children[r.dataset]
	if c == nil || c.intent == nil || c.intent.GUID != r.guid {
		return nil, nil
	}
	return c.intent, nil
}

// sealed reads the seal into the snapshot, and reports whether it was set on this very one.
func (v *view) sealed(s *driver.Snapshot, r row) bool {
	m, err := parseMark(r.seal)
	if s.Sealed = true; err != nil || m.members[r.guid] == 0 {
		return false
	}
	s.Consistency = m.class
	return true
}

// ours are the replicas, in order, of all file systems or of those that are named.
func (v *view) ours(ds ...driver.Dataset) []driver.Snapshot {
	var out []driver.Snapshot
	for _, one := range v.snapshots {
		if one.ours && (len(ds) == 0 || slices.Contains(ds, one.now.Dataset)) {
			out = append(out, one.now)
		}
	}
	slices.SortFunc(out, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order))
	})
	return out
}

// has reports whether a replica is here.
func (v *view) has(guid string) bool {
	return slices.ContainsFunc(v.ours(), func(s driver.Snapshot) bool { return s.GUID == guid })
}

// foreignAfter is a snapshot that is not ours, made after one of ours in its file system.
func (v *view) foreignAfter(base driver.Snapshot) (row, bool) {
	for _, one := range v.snapshots {
		if one.dataset == base.Dataset.Name && !one.ours && !one.deferred && one.txg > base.Order {
			return one.row, true
		}
	}
	return row{}, false
}

// newest is the newest snapshot of a file system, whosoever it is.
func (v *view) newest(dataset string) (newest row, found bool) {
	for _, one := range v.snapshots {
		if one.dataset == dataset && (!found || one.txg > newest.txg) {
			newest, found = one.row, true
		}
	}
	return newest, found
}

// row is a snapshot as the code that keeps it wants it.
func (p properties) row(name string) (row, error) {
	r := row{name: name, guid: p["guid"].value, held: p["userrefs"].value != "0"}
	r.dataset, r.snap, _ = strings.Cut(name, "@")
	var err error
	r.txg, err = strconv.ParseUint(p["createtxg"].value, 10, 64)
	if err != nil || !validGUID(r.guid) || checkName(r.dataset) != nil {
		return row{}, fmt.Errorf("zfs get: what is %q with the GUID %q and the txg %q?", name, r.guid, p["createtxg"].value)
	}
	r.deferred = p["defer_destroy"].value == "on"
	if clones := value(p["clones"].value); clones != "" {
		r.clones = strings.Split(clones, ",")
	}
	if p[replicaSeal].source == local {
		r.seal = p[replicaSeal].value
	}
	return r, nil
}
