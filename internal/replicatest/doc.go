// Package replicatest proves with the real program, two real Btrfs and a real sshd that whatever happens while sets are sent,
// no replica is seen half, no base is lost, and nothing at the target is changed. It holds tests alone.
//
// # How
//
// A pair (pair_test.go) is a source and a target. Between them lies a line (line_test.go), a proxy on loopback that counts
// what goes over it, and at a chosen byte does something: it breaks, or a process is killed, or the target goes away. The
// program is built with the tag "faultpoints" (see package fault), so that either side can be killed right before and after
// each of its effects, too.
//
// After each time the invariants of docs/design.md are checked by Btrfs's own tools and by digests of whole trees
// (invariants_test.go), and one more `volsnap replicate` has to bring all that is lacking, on the base that there was.
//
// # How much
//
// A plain run tries some of the cases, others each time. VOLSNAP_KILL_EVERY=1 tries all of them, N every Nth; VOLSNAP_KILL_FOR
// ("5m") bounds the time of each test; VOLSNAP_KILL_SEED repeats the choice of a run. See sample_test.go.
package replicatest
