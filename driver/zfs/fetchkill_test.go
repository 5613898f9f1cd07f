//go:build vmtest && faultpoints

package zfs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// TestFetchedKilledAtEachPoint kills the one that makes a fetched replica a set of its dataset, at one point after the other. The next
// one brings that to its end.
func TestFetchedKilledAtEachPoint(t *testing.T) {
	pool, top := newPool(t, 1<<30)
	d := zfs.New()
	ds := create(t, pool+"/pg")
	sets := sealedSets(t, d, ds, top+"/pg", 2)
	r := into(t, newPlace(t, pool, "place"))
	first := replicate(t, d, r, sets[0], nil)
	if err := r.Seal(t.Context(), "atomic", first); err != nil {
		t.Fatal(err)
	}
	first = here(t, r)[0]
	place, err := d.FetchInto(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	fetched, ok := place.(*zfs.Fetched)
	if !ok {
		t.Fatalf("%T", place)
	}
	one := sets[0]
	for n := 1; ; n++ {
		if err := d.Destroy(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		got := replicate(t, r, place, first, nil)
		st, err := fetched.Stage(t.Context(), got, "killed")
		if err != nil {
			t.Fatal(err)
		}
		swapTo(t, d, st, ds, nil)
		text, err := json.Marshal(destroyed{ds, got})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), destroyThis+"="+string(text), fmt.Sprintf("VOLSNAP_FAULT=kill@%d", n))
		cmd.Stderr = os.Stderr
		killed := cmd.Run() != nil
		if err := place.Destroy(t.Context(), got); err != nil {
			t.Errorf("killed at point %d: %v", n, err)
		}
		one = foundIn(t, d, driver.Snapshot{Dataset: ds, GUID: got.GUID})
		if !one.Sealed || one.Fault != "" || one.Consistency != "atomic" || len(here(t, place)) > 0 {
			t.Errorf("killed at point %d: %+v, and left are %+v", n, one, here(t, place))
		}
		if t.Failed() || !killed {
			t.Logf("killed at %d points", n-1)
			return
		}
	}
}
