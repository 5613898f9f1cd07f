package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
)

// holding is a storage on which a dead run holds writers up.
type holding struct {
	*driverfake.Driver
	asked int
	err   error
}

func (h *holding) Release(context.Context) ([]string, error) {
	h.asked++
	return nil, h.err
}

// Whoever takes an app's lock first lets go what a dead run holds up. Where that is not possible it may be another app's, and
// keeps no set from being taken.
func TestRunReleasesFirst(t *testing.T) {
	n := newNode(t)
	h := &holding{Driver: n.storage}
	n.Drivers = []driver.Driver{h}
	n.take()
	if h.asked != 1 {
		t.Errorf("asked %d times", h.asked)
	}
	h.err = errors.New("the device does not resume")
	n.take()
	if h.asked != 2 {
		t.Errorf("asked %d times", h.asked)
	}
	if err := engine.Release(t.Context(), n.Drivers); !errors.Is(err, h.err) {
		t.Errorf("Release: %v", err)
	}
}
