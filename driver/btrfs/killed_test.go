//go:build faultpoints

package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// TestReceiveKilledAtEachPoint kills a receiving process right before and after each of its effects. What is listed then is the
// whole replica or none, and the next Receive puts it right.
func TestReceiveKilledAtEachPoint(t *testing.T) {
	top := testhost.Btrfs(t, 1<<30)
	d, one := noisy(t, top)
	if err := os.WriteFile(filepath.Join(one.Dataset.Name, "more"), []byte("more"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := takeAndSeal(t, d, requestOf(t, 2, one.Dataset))[0]
	full, step := send(t, d, driver.SendRequest{Snapshot: one}), send(t, d, driver.SendRequest{Snapshot: two, Base: &one})
	for _, o := range []btrfs.Options{{}, {Resume: true}} {
		place := mkdir(t, top, fmt.Sprint("place ", o.Resume))
		points := killedEach(t, place, o, driver.ReceiveRequest{Snapshot: one}, full)
		points += killedEach(t, place, o, driver.ReceiveRequest{Snapshot: two, Base: one.GUID}, step)
		t.Logf("resume %t: killed at %d points", o.Resume, points)
		if got := names(t, place); len(got) != 5 { // a directory, two replicas, two records
			t.Errorf("left %q", got)
		}
	}
}

// killedEach kills at one point after the other, until there is none any more and the replica is there.
func killedEach(t *testing.T, place string, o btrfs.Options, req driver.ReceiveRequest, stream []byte) (points int) {
	t.Helper()
	before := len(mustList(t, open(t, place, o)))
	for n := 1; ; n++ {
		r := open(t, place, o)
		cmd := receiver(t, r, req, o)
		cmd.Env = append(cmd.Env, fmt.Sprintf("VOLSNAP_FAULT=kill@%d", n))
		cmd.Stdin = bytes.NewReader(stream)
		err := cmd.Run()
		r = open(t, place, o)
		here := mustList(t, r)
		if err == nil {
			if len(here) != before+1 || here[before].GUID != req.Snapshot.GUID {
				t.Fatalf("listed %+v", here)
			}
			return n - 1
		}
		switch len(here) {
		case before:
		case before + 1: // it was killed after it had its name
			if here[before].GUID != req.Snapshot.GUID || here[before].Fault != "" || here[before].Sealed {
				t.Errorf("killed at point %d: %+v", n, here[before])
			}
			if err := r.Destroy(t.Context(), here[before]); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("killed at point %d: listed %+v", n, here)
		}
		got, err := r.Receive(t.Context(), req, bytes.NewReader(stream))
		if err := errors.Join(err, r.Destroy(t.Context(), got)); err != nil {
			t.Fatalf("after a kill at point %d: %v", n, err)
		}
	}
}
