//go:build vmtest && faultpoints

package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
)

// TestReceiveKilledAtEachPoint kills a receiving process right before and after each of its effects. What is listed then is the
// whole replica or none, and the next Receive puts it right.
func TestReceiveKilledAtEachPoint(t *testing.T) {
	st := replicaStorage{newPool(t, size{disk: 512, data: 256, metadata: 8})}
	d := lvm.New()
	ds := st.bare(t, "killed", 16)
	st.scribble(t, ds, 1, 0, 1<<20)
	one := sealed(t, d, ds)[0]
	st.scribble(t, ds, 2, 4096, 8192)
	two := sealed(t, d, ds)[0]
	full, step := streamOf(t, d, driver.SendRequest{Snapshot: one}), streamOf(t, d, driver.SendRequest{Snapshot: two, Base: &one})
	open := st.Place(t)
	points := killedEach(t, open, driver.ReceiveRequest{Snapshot: one}, full)
	points += killedEach(t, open, driver.ReceiveRequest{Snapshot: two, Base: one.GUID}, step)
	t.Logf("killed at %d points", points)
	if left, err := open().Partials(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %+v, %v", left, err)
	}
}

// killedEach kills at one point after the other, until there is none any more and the replica is there.
func killedEach(t *testing.T, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte) (points int) {
	t.Helper()
	list := func() []driver.Snapshot {
		here, err := open().Snapshots(t.Context())
		must(t, err)
		return here
	}
	before := len(list())
	for n := 1; ; n++ {
		r, ok := open().(*lvm.Replicas)
		if !ok {
			t.Fatal("not our place")
		}
		cmd := receiver(t, receiving{r.Pool(), r.Options(), req, false})
		cmd.Env = append(cmd.Env, fmt.Sprintf("VOLSNAP_FAULT=kill@%d", n))
		cmd.Stdin = bytes.NewReader(stream)
		err := cmd.Run()
		here := list()
		if len(here) > before+1 || len(here) > before && (here[before].GUID != req.Snapshot.GUID || here[before].Fault != "" || here[before].Sealed) {
			t.Fatalf("killed at point %d: %+v", n, here)
		}
		if err == nil {
			if len(here) != before+1 {
				t.Fatalf("listed %+v", here)
			}
			return n - 1
		}
		if len(here) > before { // it was killed after it had its name
			must(t, r.Destroy(t.Context(), here[before]))
		}
		got, err := r.Receive(t.Context(), req, bytes.NewReader(stream))
		if err := errors.Join(err, r.Destroy(t.Context(), got)); err != nil {
			t.Fatalf("after a kill at point %d: %v", n, err)
		}
	}
}
