package lvm

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/volsnap/volsnap/driver"
)

// realm is whose snapshots a call is about: those that were taken on this host, or the replicas of one place. Neither lists,
// changes or destroys what is the other's.
type realm struct {
	vg, pool, owner string // of the place; all empty for the host
}

// kept are the snapshots of a realm, and what can be done with them: what Driver and Replicas have in common.
type kept struct {
	realm
	pace driver.Pace // each batch is one process
}

func (r realm) isPlace() bool { return r.vg != "" }

// judge says whether a volume is a snapshot of the realm, and what is wrong with it if it is.
func (r realm) judge(v lv) (driver.Snapshot, bool) {
	if r.isPlace() {
		return r.judgeReplica(v)
	}
	return judge(v)
}

// inReach reports whether snapshots of the realm can be in a volume group.
func (r realm) inReach(vg string) bool { return !r.isPlace() || vg == r.vg }

// marks begin the names of the realm's tags.
func (r realm) marks() string {
	if r.isPlace() {
		return replicaPrefix
	}
	return tagPrefix
}

func (r realm) sealMark() string { return r.marks() + sealName }

func (r realm) pinOf(reason string) string { return r.marks() + pinName + pinText(reason) }

// sealOf is the tag that seals what was found, as the caller knows it.
func (r realm) sealOf(f found, consistency string, asked driver.Snapshot) (string, error) {
	if r.isPlace() {
		return sealReplica(f.lv, consistency)
	}
	return seal{consistency: consistency, uuid: f.UUID, taken: asked.Taken}.tag()
}

// key is what names of a place's volumes of one source end in. It is another one for each place in a volume group, and safe as a
// name whatever the source is called.
func (r realm) key(source string) string { return keyOf(r.owner, r.pool, source) }

func keyOf(owner, pool, source string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + pool + "\x00" + source))
	return hex.EncodeToString(sum[:8])
}
