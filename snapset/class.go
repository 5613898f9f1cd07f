package snapset

import "slices"

// Consistency is the class of a set: what can be relied on between its members.
type Consistency string

// The classes, from strongest to weakest.
const (
	Atomic  Consistency = "atomic"  // all members in one transaction group, or one dataset
	Frozen  Consistency = "frozen"  // every writer of every member was paused while all were taken
	Ordered Consistency = "ordered" // writers ran; members taken in the declared order, after a checkpoint
	Crash   Consistency = "crash"   // each member by itself
)

// OrderedBy says how it was shown that a member is not older than those it must not be older than.
type OrderedBy string

// The proofs of not_older_than.
const (
	SameTransaction OrderedBy = "same transaction group"
	WritersFrozen   OrderedBy = "writers frozen"
	LaterInOrder    OrderedBy = "later in order"
)

// Taking is what happened while a set was taken, as far as its consistency depends on it.
type Taking struct {
	Instants    []int // one for each member, in order: those with the same number were made in one transaction group
	WritersHeld bool  // a pause step ran, and every running container that can write was held throughout
	InOrder     bool  // members were taken one after the other in the declared order
	Checkpoint  bool  // a CHECKPOINT ended before the first member was taken
}

// Class computes the consistency of what happened. It knows nothing of what was asked for.
func (t Taking) Class() Consistency {
	switch {
	case len(t.Instants) > 0 && len(slices.Compact(slices.Clone(t.Instants))) == 1:
		return Atomic
	case t.WritersHeld:
		return Frozen
	case t.InOrder && t.Checkpoint:
		return Ordered
	default:
		return Crash
	}
}

// Proof says how it is shown that a member is not older than another, both counted from 1; not at all when the answer is
// empty.
func (t Taking) Proof(member, other int) OrderedBy {
	switch {
	case t.Instants[member-1] == t.Instants[other-1]:
		return SameTransaction
	case t.WritersHeld:
		return WritersFrozen
	case t.InOrder && member > other:
		return LaterInOrder
	default:
		return ""
	}
}
