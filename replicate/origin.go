package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/snapset"
)

// ErrForbidden is what a peer asked for and may not have.
var ErrForbidden = errors.New("not granted")

// Origin is the sets of this host, as far as a backup server may fetch them. What that says reaches it unchecked.
type Origin struct {
	Sources []OriginSource
	Store   snapset.Store // of the manifests
	Apps    []string      // whose sets may be fetched
	Client  string        // who fetches
}

// OriginSource is a storage of this host.
type OriginSource interface {
	Source
	driver.Lister
}

// basesAtMost is how many snapshots of a dataset a client may keep, for all its places, and for how many places one: what they
// have, what they are about to get, and what has arrived in part. Without a bound it could fill the disk by keeping all of them.
const basesAtMost = 8

// List tells what there is of an app.
func (o *Origin) List(ctx context.Context, app string) (Listing, error) {
	if err := o.may(app); err != nil {
		return Listing{}, err
	}
	l := Listing{Snapshots: []driver.Snapshot{}, Client: o.Client}
	for _, src := range o.Sources {
		snaps, err := src.Snapshots(ctx)
		if err != nil { // a set with members that are not listed is none that could be fetched
			return Listing{}, err
		}
		for _, s := range snaps {
			if s.Set.App() == app {
				s.Pins = slices.DeleteFunc(slices.Clone(s.Pins), func(pin string) bool { return o.own(pin) != nil })
				l.Snapshots = append(l.Snapshots, s)
			}
		}
	}
	l.Manifests = o.Store.ReadAll(snapset.IDs(l.Snapshots))
	return l, nil
}

// Send is driver.Sender's, of what the client keeps as a base: so what it fetches, however slowly, is nothing that could be pruned
// meanwhile.
func (o *Origin) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	src, err := o.source(req.Snapshot)
	if err == nil && req.Base != nil {
		_, err = o.source(*req.Base)
	}
	if err != nil {
		return err
	}
	snaps, err := src.Snapshots(ctx, req.Snapshot.Dataset)
	if err != nil {
		return err
	}
	for _, s := range snaps {
		if s.GUID == req.Snapshot.GUID && o.keeps(s) > 0 {
			return src.Send(ctx, req, w)
		}
	}
	return fmt.Errorf("%s, which %q does not keep: %w", req.Snapshot.Name, o.Client, ErrForbidden)
}

// keeps is for how many places the client keeps a snapshot.
func (o *Origin) keeps(s driver.Snapshot) (n int) {
	for _, pin := range s.Pins {
		if o.own(pin) == nil {
			n++
		}
	}
	return n
}

// Pin keeps a snapshot as a base of the client's, who may have several places: the reason is that of BaseAt.
func (o *Origin) Pin(ctx context.Context, s driver.Snapshot, reason string) error {
	src, err := o.source(s)
	if err == nil {
		err = o.own(reason)
	}
	if err != nil {
		return err
	}
	snaps, err := src.Snapshots(ctx, s.Dataset)
	if err != nil {
		return err
	}
	others := 0
	for _, one := range snaps {
		switch {
		case one.GUID != s.GUID && o.keeps(one) > 0:
			others++
		case one.GUID == s.GUID && !slices.Contains(one.Pins, reason) && o.keeps(one) >= basesAtMost:
			return fmt.Errorf("%s is kept for %d places of %q already: %w", s.Name, basesAtMost, o.Client, ErrForbidden)
		}
	}
	if others >= basesAtMost {
		return fmt.Errorf("%d snapshots of %s are kept for %q already, more than bases can be: %w", others, s.Dataset, o.Client, ErrForbidden)
	}
	return src.Pin(ctx, s, reason)
}

// Unpin takes back what Pin did.
func (o *Origin) Unpin(ctx context.Context, s driver.Snapshot, reason string) error {
	src, err := o.source(s)
	if err == nil {
		err = o.own(reason)
	}
	if err != nil {
		return err
	}
	return src.Unpin(ctx, s, reason)
}

// BaseAt is the name of a place of a client, as the base of which a set is kept where it was taken. No target has such a name.
func BaseAt(client, place string) string { return client + "/" + place }

// placeName is what a target may be called (config.Target).
var placeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

func (o *Origin) own(reason string) error {
	at, is := driver.BaseOf(reason)
	place, its := strings.CutPrefix(at, BaseAt(o.Client, ""))
	if !is || !its || !placeName.MatchString(place) {
		return fmt.Errorf("the pin %q of %q: %w", reason, o.Client, ErrForbidden)
	}
	return nil
}

func (o *Origin) may(app string) error {
	if !slices.Contains(o.Apps, app) {
		return fmt.Errorf("the sets of %q: %w", app, ErrForbidden)
	}
	return nil
}

func (o *Origin) source(s driver.Snapshot) (OriginSource, error) {
	if err := checkMember(s); err != nil {
		return nil, err
	}
	if err := o.may(s.Set.App()); err != nil {
		return nil, err
	}
	for _, src := range o.Sources {
		if src.Kind() == s.Dataset.Kind {
			return src, nil
		}
	}
	return nil, fmt.Errorf("snapshots of %q: %w", s.Dataset.Kind, driver.ErrNotSupported)
}
