// Package testhost gives tests the real parts that they run on: pools of storage in sparse files, a Docker engine.
//
// # Skipped here, failed there
//
// A part that this host lacks skips the test on a developer's machine. Where the environment variable CI is set, or
// VOLSNAP_TEST_REQUIRE names the part ("docker,btrfs"), it fails the test: a test that silently did not run proves
// nothing.
//
// # Nothing stays behind
//
// Whatever a test gets from here is taken away again by t.Cleanup, also when the test fails. What the kill of a whole
// test process left is swept up by the next one.
package testhost

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The names of parts, as VOLSNAP_TEST_REQUIRE spells them.
const (
	PartBtrfs  = "btrfs"
	PartDocker = "docker"
	PartZFS    = "zfs"
	PartLVM    = "lvm"
)

// Require does nothing if missing is nil. Otherwise the part is not to be had on this host, for that reason: the test is
// skipped, or failed where the part is required (see the package comment).
func Require(t testing.TB, part string, missing error) {
	t.Helper()
	if missing == nil {
		return
	}
	if required(part) {
		t.Fatalf("%s is required here and missing: %v", part, missing)
	}
	t.Skipf("%s is missing: %v", part, missing)
}

func required(part string) bool {
	if os.Getenv("CI") != "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(os.Getenv("VOLSNAP_TEST_REQUIRE"), ","), func(named string) bool {
		return strings.TrimSpace(named) == part
	})
}
