package testhost

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// Storage is the kind of storage on which the tests of this run keep Docker volumes: what VOLSNAP_TEST_STORAGE says, Btrfs
// where it says nothing.
func Storage() (string, error) {
	name := os.Getenv("VOLSNAP_TEST_STORAGE")
	if name == "" {
		return PartBtrfs, nil
	}
	if _, err := kindOf(name); err != nil {
		return "", fmt.Errorf("VOLSNAP_TEST_STORAGE: %w", err)
	}
	return name, nil
}

// StartStorage is StartPool of the kind that Storage says.
func StartStorage(t testing.TB, size int64) *Pool {
	t.Helper()
	name, err := Storage()
	if err != nil {
		t.Fatal(err)
	}
	return StartPool(t, name, size)
}

// Slow is how many times slower than a real machine this one is: 1, or what VOLSNAP_TEST_SLOW says where a processor is
// emulated. Tests multiply with it how long they wait for something, and never what volsnap promises in seconds. What is no
// number above 0 counts as 1, the strictest.
func Slow() time.Duration {
	n, err := strconv.Atoi(os.Getenv("VOLSNAP_TEST_SLOW"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
}
