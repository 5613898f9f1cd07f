package zfs

import (
	"fmt"
	"slices"
	"time"

	"github.com/volsnap/volsnap/driver"
)

const (
	replicaProp    = "volsnap:replica"
	replicaSeal    = "volsnap:replica-sealed"
	replicaVersion = 1
)

// replica is the record of a snapshot that was received, or of one that is about to be: what its source says of it, and when
// it came. As with record, a field that a later version adds needs a new replicaVersion.
type replica struct {
	Version  int             `json:"version"`
	Set      driver.SetID    `json:"set"`
	Member   int             `json:"member"`
	Of       int             `json:"of"`
	Volumes  []driver.Volume `json:"volumes"`
	Source   string          `json:"source"` // the dataset's name where it comes from
	GUID     string          `json:"guid"`
	Base     string          `json:"base,omitempty"`
	Class    string          `json:"class,omitempty"` // of the set's consistency, if the source said so
	Taken    time.Time       `json:"taken"`
	Received time.Time       `json:"received"` // before it has arrived: when it began to
}

// replicaOf is what is noted of what a source announces, from now on.
func replicaOf(req driver.ReceiveRequest, now time.Time) (replica, error) {
	s := req.Snapshot
	if s.Dataset.Kind != Kind {
		return replica{}, fmt.Errorf("it is of kind %q: %w", s.Dataset.Kind, driver.ErrNotSupported)
	}
	r := replica{
		Version: replicaVersion, Set: s.Set, Member: s.Member, Of: s.Of, Volumes: slices.Clone(s.Volumes), Source: s.Dataset.Name,
		GUID: s.GUID, Base: req.Base, Taken: s.Taken.UTC(), Received: now.UTC(),
	}
	if checkClass(s.Consistency) == nil {
		r.Class = s.Consistency
	}
	if _, err := r.encode(); err != nil {
		return replica{}, fmt.Errorf("it was announced with %w", err)
	}
	return r, nil
}

// encode is the value of volsnap:replica.
func (r replica) encode() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	value, err := pack(r)
	if err == nil && len(value) > valueLimit {
		err = fmt.Errorf("volumes that take %d bytes of a property: at most %d", len(value), valueLimit)
	}
	return value, err
}

// parseReplica accepts what encode makes.
func parseReplica(value string) (*replica, error) {
	r := &replica{}
	err := decode(value, replicaVersion, r)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

// check finds what no record of ours has.
func (r replica) check() error {
	if _, err := driver.ParseSetID(string(r.Set)); err != nil {
		return err
	}
	switch {
	case r.Version != replicaVersion:
		return fmt.Errorf("version %d, not %d", r.Version, replicaVersion)
	case r.Member < 1 || r.Member > r.Of:
		return fmt.Errorf("member %d of %d", r.Member, r.Of)
	case checkName(r.Source) != nil:
		return fmt.Errorf("source %.100q", r.Source)
	case !validGUID(r.GUID):
		return fmt.Errorf("GUID %.100q", r.GUID)
	case r.Base != "" && (!validGUID(r.Base) || r.Base == r.GUID):
		return fmt.Errorf("base %.100q", r.Base)
	case r.Class != "" && checkClass(r.Class) != nil:
		return fmt.Errorf("class %.100q", r.Class)
	}
	return checkVolumes(r.Volumes)
}

// fill makes a snapshot what its record says.
func (r replica) fill(s *driver.Snapshot) {
	s.Set, s.Member, s.Of, s.Volumes = r.Set, r.Member, r.Of, slices.Clone(r.Volumes)
	s.Taken, s.Received = r.Taken, r.Received
}
