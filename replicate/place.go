package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/snapset"
)

// ErrNotWhole is what Commit refuses with: the members that are there are not those that the manifest names.
var ErrNotWhole = errors.New("the replica is not whole")

// Place is a target on this host: one place for each kind of storage. What a peer says reaches it unchecked.
type Place struct {
	Receivers []driver.Receiver // each of another kind
	Store     snapset.Store     // of the manifests
	Mounts    string            // a directory below which Digest mounts; empty: it does not
}

var _ Target = (*Place)(nil)

// List implements Target.
func (p *Place) List(ctx context.Context, app string, manifests bool) (Listing, error) {
	l := Listing{Snapshots: []driver.Snapshot{}, Partials: []driver.Partial{}, Formats: map[string][]string{}}
	for _, r := range p.Receivers {
		snaps, err := r.Snapshots(ctx)
		if err != nil {
			return Listing{}, err
		}
		for _, s := range snaps {
			if app == "" || s.Set.App() == app {
				l.Snapshots = append(l.Snapshots, s)
			}
		}
		partials, err := r.Partials(ctx)
		if err != nil {
			return Listing{}, err
		}
		l.Partials = append(l.Partials, partials...)
		l.Formats[r.Kind()] = r.Formats()
	}
	if manifests {
		l.Manifests = p.Store.ReadAll(snapset.IDs(l.Snapshots))
	}
	return l, nil
}

// Sets are the sets of a listing with manifests, oldest first.
func (l Listing) Sets() []snapset.Set { return snapset.Assemble(l.Snapshots, l.Manifests) }

// Receive implements Target.
func (p *Place) Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	if err := checkMember(req.Snapshot); err != nil {
		return driver.Snapshot{}, err
	}
	to, err := p.receiver(req.Snapshot.Dataset.Kind)
	if err != nil {
		return driver.Snapshot{}, err
	}
	return to.Receive(ctx, req, r)
}

// Send is driver.Sender's: whoever sent replicas may have them back.
func (p *Place) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	if err := checkMember(req.Snapshot); err != nil {
		return err
	}
	at, err := p.receiver(req.Snapshot.Dataset.Kind)
	if err != nil {
		return err
	}
	from, can := at.(driver.Sender)
	if !can {
		return fmt.Errorf("replicas of %q cannot be sent from here: %w", at.Kind(), driver.ErrNotSupported)
	}
	return from.Send(ctx, req, w)
}

// Digest says what a replica holds.
func (p *Place) Digest(ctx context.Context, s driver.Snapshot) (tree.Digest, error) {
	if p.Mounts == "" {
		return tree.Digest{}, fmt.Errorf("the contents of replicas: %w (`volsnap serve --verify` grants it)", ErrForbidden)
	}
	if err := checkMember(s); err != nil {
		return tree.Digest{}, err
	}
	at, err := p.receiver(s.Dataset.Kind)
	if err != nil {
		return tree.Digest{}, err
	}
	return DigestOf(ctx, at, s, p.Mounts)
}

// Mounter shows what replicas on one kind of storage hold.
func (p *Place) Mounter(kind string) (driver.Mounter, error) { return p.receiver(kind) }

func checkMember(s driver.Snapshot) error {
	if _, err := driver.ParseSetID(string(s.Set)); err != nil {
		return err
	}
	if s.Member < 1 || s.Member > s.Of || s.Of > maxMembers || s.GUID == "" {
		return fmt.Errorf("member %d of %d with the GUID %q is none", s.Member, s.Of, s.GUID)
	}
	return nil
}

const maxMembers = 10_000

func (p *Place) receiver(kind string) (driver.Receiver, error) {
	for _, r := range p.Receivers {
		if r.Kind() == kind {
			return r, nil
		}
	}
	return nil, fmt.Errorf("there is no place for snapshots of %q: %w", kind, driver.ErrNotSupported)
}

// Commit implements Target.
func (p *Place) Commit(ctx context.Context, m *snapset.Manifest) error {
	id, err := driver.ParseSetID(string(m.ID))
	if err != nil || m.App != id.App() {
		return errors.Join(fmt.Errorf("manifest of %q and the app %q", m.ID, m.App), err)
	}
	if text, err := json.Marshal(m); err != nil || len(text) > manifestLimit(len(m.Members)) {
		return errors.Join(fmt.Errorf("%s: a manifest of %d bytes for %d members is too large", id, len(text), len(m.Members)), err)
	}
	l, err := p.List(ctx, m.App, false)
	if err != nil {
		return err
	}
	members := slices.DeleteFunc(l.Snapshots, func(s driver.Snapshot) bool { return s.Set != id })
	if err := whole(members, m); err != nil {
		return fmt.Errorf("%s: %w: %w", id, ErrNotWhole, err)
	}
	if !slices.ContainsFunc(members, func(s driver.Snapshot) bool { return !s.Sealed }) {
		return nil // by an earlier call
	}
	if err := errors.Join(p.Store.SweepSet(id), p.Store.Write(m)); err != nil {
		return err
	}
	for _, r := range p.Receivers {
		var its []driver.Snapshot
		for _, s := range members {
			if s.Dataset.Kind == r.Kind() {
				its = append(its, s)
			}
		}
		if len(its) == 0 {
			continue
		}
		fault.Point("before seal of a replica")
		if err := r.Seal(ctx, string(m.Consistency), its...); err != nil {
			return err
		}
		fault.Point("after seal of a replica")
	}
	return nil
}

// manifestLimit is how many bytes a manifest may have. It lies on the host's own disk, not in the place, and a client that means
// harm shall not be able to fill that with a few sets.
func manifestLimit(members int) int { return 64<<10 + 4<<10*members }

// whole compares what is there of a set with what its manifest names.
func whole(members []driver.Snapshot, m *snapset.Manifest) error {
	named := map[string]bool{}
	for _, one := range m.Members {
		named[one.GUID] = true
	}
	seen, have := map[int]bool{}, map[string]bool{}
	for _, s := range members {
		switch {
		case s.Fault != "":
			return fmt.Errorf("%s %s", s.Name, s.Fault)
		case !named[s.GUID]:
			return fmt.Errorf("%s has the GUID %s, which the manifest does not name", s.Name, s.GUID)
		case s.Of != len(named) || seen[s.Member]:
			return fmt.Errorf("%s is member %d of %d, and the manifest names %d", s.Name, s.Member, s.Of, len(named))
		}
		seen[s.Member], have[s.GUID] = true, true
	}
	if len(have) < len(named) || len(named) == 0 {
		return fmt.Errorf("%d of %d members are there", len(have), len(named))
	}
	return nil
}
