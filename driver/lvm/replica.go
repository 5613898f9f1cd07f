package lvm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

// The tags of a replica, and of a volume that is to become one:
//
//	volsnap-replica.1.2=<base64url>                        the record as JSON, part 1 of 2
//	volsnap-replica.progress=<stream.Position>             while it arrives: what of the stream is on disk
//	volsnap-replica.received=<nanoseconds>/<own UUID>      since it arrived
//	volsnap-replica.sealed=<class>/<own UUID>/<sum>        the seal, with a sum of the record
//	volsnap-replica.pin=<base64url>                        a reason
const (
	replicaPrefix = "volsnap-replica."
	receivedTag   = replicaPrefix + "received="
	progressTag   = replicaPrefix + "progress="

	replicaVersion = 1
)

// replica is the record of a replica. As of a snapshot, a field that a later version adds needs a new version.
type replica struct {
	Version int             `json:"v"`
	Owner   string          `json:"owner"` // whose place it is
	Source  string          `json:"src"`   // what the dataset is called at the source, "vg/lv"
	Set     driver.SetID    `json:"set"`
	Member  int             `json:"k"`
	Of      int             `json:"n"`
	GUID    string          `json:"guid"`
	Base    string          `json:"base,omitempty"` // GUID of what its stream built on
	Size    int64           `json:"size"`           // in bytes, at the source; the volume here may be larger
	Taken   int64           `json:"taken"`          // nanoseconds; 0 if nobody said
	Volumes []driver.Volume `json:"volumes"`
}

// announced is the record of what a source announces. Its size is said by the stream.
func (r realm) announced(req driver.ReceiveRequest) (replica, error) {
	s := req.Snapshot
	if s.Dataset.Kind != Kind {
		return replica{}, fmt.Errorf("it is of kind %q: %w", s.Dataset.Kind, driver.ErrNotSupported)
	}
	rec := replica{
		Version: replicaVersion, Owner: r.owner, Source: s.Dataset.Name, Set: s.Set, Member: s.Member, Of: s.Of, GUID: s.GUID,
		Base: req.Base, Size: stream.MaxSize, Taken: nanoseconds(s.Taken), Volumes: slices.Clone(s.Volumes),
	}
	if !s.Taken.IsZero() && !timeOf(rec.Taken).Equal(s.Taken) {
		return replica{}, fmt.Errorf("it was announced as taken at %s, which cannot be noted", s.Taken)
	}
	if _, err := rec.tags(); err != nil {
		return replica{}, fmt.Errorf("it was announced with what cannot be noted: %w", err)
	}
	if device := deviceName(r.vg, r.replicaName(rec)); len(device) > maxDeviceName {
		return replica{}, fmt.Errorf("%s is too long for the name of a device: use a volume group with a shorter name", device)
	}
	return rec, nil
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// tags are the record as tags.
func (rec replica) tags() ([]string, error) {
	if err := rec.check(); err != nil {
		return nil, err
	}
	return inParts(replicaPrefix, rec)
}

func parseReplica(tags []string) (replica, error) {
	text, err := joinParts(replicaPrefix, tags)
	if err != nil {
		return replica{}, err
	}
	return decode[replica](text)
}

// maxOwner is how long the name of an owner may be, in bytes.
const maxOwner = 200

// check finds what no record of a replica has.
func (rec replica) check() error {
	if _, err := driver.ParseSetID(string(rec.Set)); err != nil {
		return err
	}
	_, _, bad := split(rec.Source)
	switch {
	case rec.Version != replicaVersion:
		return fmt.Errorf("version %d, not %d", rec.Version, replicaVersion)
	case rec.Owner == "" || len(rec.Owner) > maxOwner || !text(rec.Owner):
		return fmt.Errorf("owner %q", rec.Owner)
	case bad != nil:
		return fmt.Errorf("source %.300q, which is no VG/LV", rec.Source)
	case rec.Member < 1 || rec.Member > rec.Of:
		return fmt.Errorf("member %d of %d", rec.Member, rec.Of)
	case !validUUID(rec.GUID), rec.Base != "" && !validUUID(rec.Base), rec.Base == rec.GUID:
		return fmt.Errorf("GUID %.100q and base %.100q", rec.GUID, rec.Base)
	case rec.Size <= 0 || rec.Size > stream.MaxSize || rec.Size%stream.Sector != 0:
		return fmt.Errorf("%d bytes", rec.Size)
	case rec.Taken == math.MinInt64:
		return fmt.Errorf("taken %d", rec.Taken)
	}
	return checkVolumes(rec.Volumes)
}

// stagingPrefix begins the names of volumes that are being received; the key of their dataset follows, so that there is one of
// each. ParseName accepts no such name.
const stagingPrefix = "volsnap-receiving."

func (r realm) replicaName(rec replica) string {
	return rec.Set.SnapshotName() + "." + r.key(rec.Source)
}

func (r realm) stagingName(rec replica) string { return stagingPrefix + r.key(rec.Source) }

// dataset is where replicas of one source lie, as far as anything in a volume group lies somewhere.
func (r realm) dataset(rec replica) driver.Dataset {
	return driver.Dataset{Kind: Kind, Name: r.vg + "/volsnap." + r.key(rec.Source)}
}

// belongs is the record of a volume that is the place's: a replica, or one that is being received.
func (r realm) belongs(v lv) (replica, bool) {
	if v.VG != r.vg || v.Pool != r.pool || !v.thin() || !validUUID(v.UUID) {
		return replica{}, false
	}
	rec, err := parseReplica(v.tags())
	return rec, err == nil && rec.Owner == r.owner
}

// judgeReplica is as judge. A copy of a replica is none: its UUID is another one.
func (r realm) judgeReplica(v lv) (driver.Snapshot, bool) {
	rec, ok := r.belongs(v)
	if !ok || v.Name != r.replicaName(rec) {
		return driver.Snapshot{}, false
	}
	received, ok := arrivedAt(v)
	order, err := strconv.ParseUint(v.Order, 10, 64)
	if !ok || err != nil {
		return driver.Snapshot{}, false
	}
	s := driver.Snapshot{
		Dataset: r.dataset(rec), Name: v.String(), Set: rec.Set, Member: rec.Member, Of: rec.Of, Volumes: rec.Volumes,
		GUID: rec.GUID, Order: order, Taken: timeOf(rec.Taken), Received: received,
	}
	s.Fault = readReplicaMarks(v, &s)
	if v.writable() {
		s.Fault = "is writable"
	}
	return s, true
}

// arrivedAt is when a volume had become a replica.
func arrivedAt(v lv) (at time.Time, ok bool) {
	for _, tag := range v.tags() {
		rest, is := strings.CutPrefix(tag, receivedTag)
		if !is {
			continue
		}
		text, uuid, _ := strings.Cut(rest, "/")
		ns, err := strconv.ParseInt(text, 10, 64)
		if ok || err != nil || ns == 0 || uuid != v.UUID {
			return time.Time{}, false
		}
		at, ok = timeOf(ns), true
	}
	return at, ok
}

func arrivedTag(v lv, at time.Time) string {
	return fmt.Sprintf("%s%d/%s", receivedTag, at.UnixNano(), v.UUID)
}

// sealReplica is the seal of a replica.
func sealReplica(v lv, consistency string) (string, error) {
	if !classPattern.MatchString(consistency) || !validUUID(v.UUID) {
		return "", fmt.Errorf("consistency %q of %q", consistency, v.UUID)
	}
	sum, err := recordSum(v)
	return fmt.Sprintf("%s%s%s/%s/%s", replicaPrefix, sealName, consistency, v.UUID, sum), err
}

// recordSum is a sum of the record that a volume carries.
func recordSum(v lv) (string, error) {
	text, err := joinParts(replicaPrefix, v.tags())
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), err
}

// readReplicaMarks reads seal and pins, and says what no replica of ours has.
func readReplicaMarks(v lv, s *driver.Snapshot) (fault string) {
	for _, tag := range v.tags() {
		name, ours := strings.CutPrefix(tag, replicaPrefix)
		switch {
		case !ours || partPattern.MatchString(name) || strings.HasPrefix(tag, receivedTag):
		case strings.HasPrefix(name, pinName):
			reason, ok := parsePinText(strings.TrimPrefix(name, pinName))
			if !ok {
				fault = "has a pin that cannot be read"
				continue
			}
			s.Pins = append(s.Pins, reason)
		case strings.HasPrefix(name, sealName):
			class, _, _ := strings.Cut(strings.TrimPrefix(name, sealName), "/")
			switch want, err := sealReplica(v, class); {
			case err != nil || tag != want:
				fault = "has a seal of another volume or record"
			case s.Sealed:
				fault = "has two seals"
			}
			s.Sealed, s.Consistency = true, class
		default:
			fault = "has a tag that this volsnap does not know"
		}
	}
	slices.Sort(s.Pins)
	return fault
}

// inArrival is the record of a volume that is being received by any place of this host, whoever's it is.
func inArrival(v lv) (replica, bool) {
	rec, err := parseReplica(v.tags())
	return rec, err == nil && v.thin() && v.Name == stagingPrefix+keyOf(rec.Owner, v.Pool, rec.Source)
}
