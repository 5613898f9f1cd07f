package engine_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/inventory"
)

func TestPlanRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*node)
		want   string
	}{
		{"an order that cannot be shown", func(n *node) {
			n.app.Volumes[0].NotOlderThan = []string{n.paths[2]}
		}, "is taken before"},
		{"a finding of the storage", func(n *node) {
			n.storage.AddFinding(driver.Dataset{Kind: driverfake.Kind, Name: n.paths[1]}, driver.Finding{Level: driver.Error, What: "holds a nested subvolume"})
		}, "nested"},
		{"another file system", func(n *node) {
			n.app.Volumes = append(n.app.Volumes, inventory.VolumeSpec{Path: os.TempDir()})
		}, "move it"},
		{"a full pool", func(n *node) { n.storage.SetSpace(driver.Space{FreeBytes: 1, TotalBytes: 1000}) }, "free"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			tt.change(n)
			p, err := n.Plan(t.Context(), n.app)
			if err != nil || !p.Failed() {
				t.Fatalf("plan: %+v, %v", p, err)
			}
			_, err = n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
			if !errors.Is(err, engine.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("snapshot: %v; want it refused with %q", err, tt.want)
			}
			for _, e := range n.storage.Effects() {
				t.Errorf("changed: %+v", e)
			}
		})
	}
}

func TestPlanReadsOnly(t *testing.T) {
	n := newNode(t)
	p, err := n.Plan(t.Context(), n.app)
	if err != nil || p.Failed() || p.Consistency != "crash" || len(p.Members) != 3 {
		t.Fatalf("plan: %+v, %v", p, err)
	}
	if got := n.storage.Effects(); len(got) > 0 {
		t.Fatalf("changed: %+v", got)
	}
	if _, err := os.Stat(n.RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the run directory was made: %v", err)
	}
}

// Members in one dataset are one snapshot, and that is atomic; in several they are taken in order.
func TestClassIsComputed(t *testing.T) {
	n := newNode(t)
	n.app.Volumes = n.app.Volumes[:1]
	m, err := n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
	if err != nil || m.Consistency != "atomic" {
		t.Fatalf("%+v, %v", m, err)
	}
	n = newNode(t)
	m, err = n.Snapshot(t.Context(), n.app, engine.TakeOptions{})
	if err != nil || m.Consistency != "crash" || m.Members[1].OrderedBy != "later in order" {
		t.Fatalf("%+v, %v", m, err)
	}
	for i := 1; i < len(m.Members); i++ {
		if m.Members[i].Taken.Before(m.Members[i-1].Taken) {
			t.Errorf("member %d was taken before member %d", i, i-1)
		}
	}
}
