//go:build vmtest

package lvm_test

import (
	"testing"

	"github.com/volsnap/volsnap/driver/drivertest"
)

func TestDriver(t *testing.T) {
	t.Setenv("TERM", "unknown") // as below sudo(8) without a terminal
	drivertest.Run(t, newPool(t, size{disk: 2048, data: 1024, metadata: 16}))
}

func TestStages(t *testing.T) {
	drivertest.RunStages(t, newPool(t, size{disk: 2048, data: 1024, metadata: 16}))
}
