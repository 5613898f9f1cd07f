package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/engine"
)

// A storage that is in trouble is a finding like others, and keeps none of them from being said.
func TestCheckWithoutAListing(t *testing.T) {
	n := newNode(t)
	n.take()
	n.storage.Fault("Snapshots", 1, errors.New("boom"))
	found, err := n.Check(t.Context(), n.app)
	if err != nil {
		t.Fatal(err)
	}
	says := func(p engine.Problem) bool {
		return p.Level == driver.Error && strings.Contains(p.What, "boom") && p.Mend != ""
	}
	if !slices.ContainsFunc(found, says) {
		t.Errorf("%+v", found)
	}
}

// A volume of which its storage takes no snapshot has no space to speak of, and is in the plan all the same, with its mend.
func TestPlanWithoutSpace(t *testing.T) {
	n := newNode(t)
	n.storage.Fault("Space", 1, fmt.Errorf("a linear volume: %w", driver.ErrNotSupported))
	if plan, err := n.Plan(t.Context(), n.app); err != nil || len(plan.Members) == 0 {
		t.Errorf("%+v, %v", plan, err)
	}
}
