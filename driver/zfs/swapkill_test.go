//go:build vmtest

package zfs_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/zfs"
)

// swapThis is where this binary, started again, finds what to swap.
const swapThis = "VOLSNAP_TEST_SWAP"

type swapped struct {
	DS, Stage driver.Dataset
	GUID      string
}

func swapIt(text string) error {
	var s swapped
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	return zfs.New().Swap(context.Background(), s.DS, s.Stage, s.GUID)
}

// destroyThis is where this binary, started again, finds what to destroy of the replicas that were fetched for a dataset.
const destroyThis = "VOLSNAP_TEST_DESTROY_FETCHED"

type destroyed struct {
	DS       driver.Dataset
	Snapshot driver.Snapshot
}

func destroyIt(text string) error {
	var s destroyed
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	place, err := zfs.New().FetchInto(context.Background(), s.DS)
	if err != nil {
		return err
	}
	return place.Destroy(context.Background(), s.Snapshot)
}

// swapAndKill lets another process swap, and ends it by SIGKILL after a while.
func swapAndKill(t *testing.T, s swapped, after time.Duration) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), swapThis+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // "signal: killed", or it was faster
	// What it had started goes on.
	await(t, func() bool { return exec.Command("pgrep", "-f", "^zfs .*"+s.DS.Name).Run() != nil })
}

// TestSwapKilledAnywhere: the next Swap, in whatever direction, finds its way from what a killed one has left, and nothing else has
// changed.
func TestSwapKilledAnywhere(t *testing.T) {
	pool, top := newPool(t, 512<<20)
	d := zfs.New()
	ds := create(t, pool+"/pg", "-o", "recordsize=16K", "-o", "com.example:team=db", "-o", "quota=300M", "-o", "exec=off")
	at := top + "/pg"
	sets := sealedSets(t, d, ds, at, 2)
	was, err := d.Identity(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	before := settingsNow(t, ds.Name)
	st, err := d.Stage(t.Context(), sets[0], "x")
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{was: "xx", st.GUID: "x"}
	begun := time.Now()
	if err := d.Swap(t.Context(), ds, st.Dataset, st.GUID); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	now := st.GUID
	for i := range 10 {
		other := map[string]string{was: st.GUID, st.GUID: was}[now]
		after := time.Duration(rand.Int64N(int64(took)))
		swapAndKill(t, swapped{ds, st.Dataset, other}, after)
		if i%2 == 0 {
			now = other
		}
		if err := d.Swap(t.Context(), ds, st.Dataset, now); err != nil {
			t.Fatalf("killed after %s of %s, and then to %s: %v", after, took, now, err)
		}
		text, err := os.ReadFile(at + "/f")
		if err != nil || string(text) != content[now] {
			t.Fatalf("killed after %s of %s: %q, %v", after, took, text, err)
		}
		if diff := cmp.Diff(before, settingsNow(t, ds.Name)); diff != "" {
			t.Errorf("killed after %s of %s: %s", after, took, diff)
		}
		aside, err := d.Identity(t.Context(), st.Dataset)
		if err != nil || aside == now || content[aside] == "" {
			t.Errorf("the stage is %s, %v", aside, err)
		}
		if all := listed(t, d, ds); len(all) != 2 {
			t.Errorf("listed: %+v", all)
		}
		for _, name := range []string{ds.Name, st.Dataset.Name} {
			if left := property(t, name, "volsnap:place"); left != "-" {
				t.Errorf("%s has %s", name, left)
			}
		}
	}
}
