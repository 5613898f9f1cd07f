// Package killtest proves with the real program, a real Docker engine and a real storage that whatever happens to volsnap,
// nothing is lost and nothing stays paused. It holds tests alone.
//
// # How
//
// The program is built with the tag "faultpoints" (see package fault), and is killed, ended, made to panic or to hang at
// one point after the other while it takes a set of a small app (app_test.go). After each time the kernel and Docker are
// asked whether anything is paused, and after one more run the invariants of docs/design.md are checked against what lies
// on the disk (invariants_test.go), by other means than volsnap's own where there are some.
//
// # On which storage
//
// The one that VOLSNAP_TEST_STORAGE names, see package testhost. What is built for virtual machines, with the tag "vmtest",
// leaves out the tests whose subject is the freeze and not what lies on the storage.
//
// # What is watched
//
// The pauses are measured from outside: the state of each container's freezer control group is read every few
// milliseconds (freezer_test.go).
package killtest
