//go:build vmtest

package zfs_test

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// TestCompoundStreams: what a `zfs send` by hand makes of a snapshot with its properties, its holds, its children or its
// ancestors is refused, also where it holds exactly the snapshot that was announced, and changes nothing.
func TestCompoundStreams(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	ds, d := create(t, pool+"/a", "-o", "sharenfs=off", "-o", "atime=off"), zfs.New()
	sets := sealedSets(t, d, ds, top+"/a", 3)
	do(t, "zfs", "set", "exec=on", "theirs:property=x", ds.Name)
	do(t, "zfs", "hold", "theirs", sets[1].Name)
	clone := driver.Dataset{Kind: zfs.Kind, Name: pool + "/clone"}
	if err := d.Clone(t.Context(), sets[1], clone); err != nil {
		t.Fatal(err)
	}
	ofClone := takeAndSeal(t, d, requestOf(t, 9, clone))[0]
	do(t, "zfs", "create", "-V", "8M", pool+"/volume")
	do(t, "zfs", "snapshot", pool+"/volume@x")
	ofVolume := sets[2]
	ofVolume.GUID = property(t, pool+"/volume@x", "guid")

	r := into(t, newPlace(t, pool, "place"))
	first := replicate(t, d, r, sets[0], nil)
	before := everything(t, r.Name())
	for _, tc := range []struct {
		name string
		argv []string
		of   driver.Snapshot
		base *driver.Snapshot
	}{
		{"properties", []string{"-p", sets[1].Name}, sets[1], nil},
		{"properties of an increment", []string{"-p", "-i", sets[0].Name, sets[1].Name}, sets[1], &sets[0]},
		{"all below", []string{"-R", sets[1].Name}, sets[1], nil},
		{"all below, an increment", []string{"-R", "-I", sets[0].Name, sets[1].Name}, sets[1], &sets[0]},
		{"holds", []string{"-h", "-i", sets[0].Name, sets[1].Name}, sets[1], &sets[0]},
		{"several", []string{"-I", sets[0].Name, sets[2].Name}, sets[2], &sets[0]},
		{"a clone", []string{"-i", sets[1].Name, ofClone.Name}, ofClone, &sets[1]},
		{"a clone on top of the base", []string{"-i", sets[1].Name, ofClone.Name}, ofClone, &sets[0]},
		{"a volume", []string{pool + "/volume@x"}, ofVolume, nil},
	} {
		stream, err := exec.Command("zfs", append([]string{"send"}, tc.argv...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		req := announce(tc.of, tc.base)
		if tc.base == nil || tc.of.Dataset == clone {
			req.Snapshot.Dataset.Name = pool + "/of something else" // of which there is no replica
		}
		_, err = r.Receive(t.Context(), req, bytes.NewReader(stream))
		if !errors.Is(err, driver.ErrBadStream) && !(tc.name == "a clone" && errors.Is(err, driver.ErrNotFound)) {
			t.Errorf("%s: %v, want ErrBadStream", tc.name, err)
		}
		if diff := cmp.Diff(before, everything(t, r.Name())); diff != "" {
			t.Errorf("%s: the place has changed:\n%s", tc.name, diff)
		}
	}
	// The same snapshot, plainly.
	if second := replicate(t, d, r, sets[1], &sets[0]); second.Dataset != first.Dataset {
		t.Errorf("%+v after %+v", second, first)
	}
	if got := property(t, first.Dataset.Name, "exec") + property(t, first.Dataset.Name, "theirs:property"); got != "off-" {
		t.Errorf("exec and theirs are %s", got)
	}
	if _, err := exec.Command("zfs", "get", "-H", "all", r.Name()).Output(); err != nil {
		t.Error(err)
	}
}
