package lvm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// Snapshots implements driver.Lister, by one process. Volume groups that are exported, or whose disks are all away, are
// not of this host, and an error if they are named.
func (d *Driver) Snapshots(ctx context.Context, ds ...driver.Dataset) ([]driver.Snapshot, error) {
	out, err := snapshots(ctx, ds)
	if err != nil {
		return nil, fmt.Errorf("list snapshots of LVM: %w", err)
	}
	return out, nil
}

func snapshots(ctx context.Context, ds []driver.Dataset) ([]driver.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	groups, err := groupsOf(ds)
	if err != nil {
		return nil, err
	}
	if len(ds) == 0 {
		if here, err := present(); err != nil || !here {
			return nil, err
		}
	}
	all, err := volumes(ctx, groups...)
	if err != nil {
		return nil, err
	}
	found := ours(all)
	if len(ds) > 0 {
		found = slices.DeleteFunc(found, func(s driver.Snapshot) bool { return !slices.Contains(ds, s.Dataset) })
	}
	return found, nil
}

// ours are the snapshots among volumes, oldest first within a dataset.
func ours(all []lv) []driver.Snapshot {
	names := map[string]bool{}
	for _, v := range all {
		names[v.String()] = true
	}
	replaced := homes(all)
	var out []driver.Snapshot
	for _, v := range all {
		s, ok := judge(v)
		if !ok {
			continue
		}
		_, origin, _ := parseSnapshotName(v.Name) // judge has looked
		if home := replaced.of(v); home != "" {
			s.Dataset.Name = home
		} else if v.OriginUUID == "" && names[s.Dataset.Name] { // another volume has its name now
			s.Dataset.Name += "+" + origin
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b driver.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Dataset.Name, b.Dataset.Name), cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// judge says whether a volume is a snapshot of ours, and what is wrong with it if it is.
//
// Its order is the transaction id of the thin pool in which it was made: LVM counts it up with each message that makes or
// deletes a volume, refuses a pool whose own count differs, and never sets it back (update_thin_pool_lv in
// lib/metadata/thin_manip.c). Thin ids are no order: that of a deleted volume is given out again.
func judge(v lv) (driver.Snapshot, bool) {
	set, origin, err := parseSnapshotName(v.Name)
	if err != nil || !v.thin() {
		return driver.Snapshot{}, false
	}
	r, err := parseRecord(v.tags())
	if err != nil || r.Set != set || short(r.Origin) != origin || v.OriginUUID != "" && v.OriginUUID != r.Origin {
		return driver.Snapshot{}, false
	}
	order, err := strconv.ParseUint(v.Order, 10, 64)
	if err != nil || !validUUID(v.UUID) {
		return driver.Snapshot{}, false
	}
	s := driver.Snapshot{
		Dataset: driver.Dataset{Kind: Kind, Name: v.VG + "/" + cmp.Or(v.Origin, r.LV)}, Name: v.String(),
		Set: set, Member: r.Member, Of: r.Of, Volumes: r.Volumes, GUID: v.UUID, Order: order,
	}
	s.Fault = readMarks(v.tags(), &s)
	if v.writable() {
		s.Fault = "is writable"
	}
	return s, true
}

// readMarks reads seal and pins, and says what no snapshot of ours has.
func readMarks(tags []string, s *driver.Snapshot) (fault string) {
	for _, tag := range tags {
		switch {
		case !strings.HasPrefix(tag, tagPrefix) || partPattern.MatchString(strings.TrimPrefix(tag, tagPrefix)):
		case strings.HasPrefix(tag, pinTag):
			reason, ok := parsePin(tag)
			if !ok {
				fault = "has a pin that cannot be read"
				continue
			}
			s.Pins = append(s.Pins, reason)
		case strings.HasPrefix(tag, sealTag):
			mark, ok := parseSeal(tag)
			switch {
			case !ok:
				fault = "has a seal that cannot be read"
			case mark.uuid != s.GUID:
				fault = fmt.Sprintf("has the UUID %s, not %s as when it was sealed", s.GUID, mark.uuid)
			case s.Sealed:
				fault = "has two seals"
			}
			if ok {
				s.Sealed, s.Consistency, s.Taken = true, mark.consistency, mark.taken
			}
		default:
			fault = "has a tag that this volsnap does not know"
		}
	}
	slices.Sort(s.Pins)
	return fault
}
